from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from napari_medurwkv.training.losses import SegmentationLoss


def test_half_cross_entropy_half_dice() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    p = logits.softmax(1)
    t = F.one_hot(target, 3).permute(0, 3, 1, 2)
    dice = 1 - (2 * (p * t).sum((0, 2, 3)) / (p + t).sum((0, 2, 3))).mean()
    wanted = 0.5 * F.cross_entropy(logits, target) + 0.5 * dice
    got = SegmentationLoss(3)(logits, target)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_one_output_is_binary() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 8, 8), torch.randint(0, 2, (2, 8, 8))
    p, t = logits.sigmoid()[:, 0], target.float()
    dice = 1 - 2 * (p * t).sum() / (p + t).sum()
    entropy = F.binary_cross_entropy_with_logits(logits[:, 0], t)
    got = SegmentationLoss(1)(logits, target)
    assert float(got) == pytest.approx(float(0.5 * entropy + 0.5 * dice), rel=1e-4)


def test_weights_reach_the_cross_entropy() -> None:
    logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    logits[:, 1] = 1
    plain = SegmentationLoss(2)(logits, target)
    target[0, 0, 0] = 1
    weighted = SegmentationLoss(2, (100.0, 1.0))(logits, target)
    assert weighted > plain
