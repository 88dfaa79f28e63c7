"""Batch-norm statistics that belong to the weights which are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["refresh_batch_norm"]


@torch.no_grad()
def refresh_batch_norm(network: nn.Module, images: Iterable[torch.Tensor]) -> int:
    """Measure the running statistics anew, as plain means over `images`.

    Averaged weights have activations of their own, and running statistics follow only
    the last few batches; with small batches of very different images both are far off.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place; comes back in the mode it had.
    images : iterable of (B, C, H, W) tensors
        Batches as training sees them.

    Returns
    -------
    int
        Batches that were used; 0 where the network has no batch norm.
    """
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        and layer.track_running_stats
    ]
    if not layers:
        return 0
    training = network.training
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative mean
        layer.train()
    used = 0
    for batch in images:
        network(batch)
        used += 1
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.train(training)
    return used
