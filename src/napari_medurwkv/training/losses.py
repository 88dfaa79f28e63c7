"""Cross-entropy and soft Dice in equal parts, by MONAI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SegmentationLoss"]


class SegmentationLoss(nn.Module):
    """Half cross-entropy, half soft Dice over the whole batch.

    With one output, binary cross-entropy takes the place of cross-entropy and the
    output is read through a sigmoid.

    Parameters
    ----------
    outputs : int
        Channels of the logits.
    weights : tuple of float, optional
        Of the cross-entropy, one per output.
    """

    def __init__(self, outputs: int, weights: tuple[float, ...] | None = None) -> None:
        from monai.losses import DiceCELoss

        super().__init__()
        self._several = outputs > 1
        self._loss = DiceCELoss(
            sigmoid=not self._several,
            softmax=self._several,
            to_onehot_y=self._several,
            batch=True,
            lambda_dice=0.5,
            lambda_ce=0.5,
            weight=None if weights is None else torch.tensor(weights),
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, outputs, H, W) against (B, H, W) int64."""
        wanted = target[:, None] if self._several else target[:, None].float()
        loss: Tensor = self._loss(logits.float(), wanted)
        return loss
