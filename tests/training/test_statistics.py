"""Batch-norm statistics follow the weights that are kept."""

from __future__ import annotations

import torch
from torch import nn

from napari_medurwkv.training.statistics import refresh_batch_norm


def test_statistics_are_plain_means_over_the_batches():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5)).eval()
    network[0].running_mean.fill_(7)
    batches = [torch.randn(3, 2, 4, 4) + shift for shift in (0.0, 2.0)]
    assert refresh_batch_norm(network, batches) == 2
    wanted = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(network[0].running_mean, wanted)
    assert network[0].momentum == 0.1
    assert not network[0].training


def test_networks_without_batch_norm_are_left_alone():
    assert refresh_batch_norm(nn.Conv2d(1, 1, 1), iter(())) == 0
