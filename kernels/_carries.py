"""Sums carried from chunk to chunk of a sequence, each on a scale of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ._scan import grouped

__all__ = ["EMPTY", "carries"]

EMPTY = -1e30
"""Scale of a sum that has no terms."""
_WHOLE = 32  # so many chunks are compared pair by pair at once


def carries(
    totals: Tensor, scale: Tensor, w: Tensor, chunk: int, *, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Sum all earlier chunks up to the start of each, each on its own scale.

    Groups of chunks are compared pair by pair, the groups' totals are carried in
    the same way, and what comes from earlier groups is added. No exponent is ever
    positive, so no spread of the scales and no decay can overflow, and nothing is
    read back from the device. Scales are whole numbers, so that they stay exact and
    only mantissas are rounded.

    Parameters
    ----------
    totals : Tensor, shape (Q, B, chunks, C)
        Sum of each chunk as seen from its end (its start if `reverse`).
    scale : Tensor, shape (B, chunks, C)
        Logarithm of the totals' scale.
    w : Tensor, shape (C,)
        Decay per token.
    chunk : int
        Tokens per chunk.
    reverse : bool
        Sum the later chunks instead.

    Returns
    -------
    Tensor, shape (Q, B, chunks, C)
        The sums.
    Tensor, shape (B, chunks, C)
        Their scales, ``EMPTY`` where there is nothing to sum.
    """
    if not reverse:
        return _before(totals, scale, w, chunk)
    sums, tops = _before(totals.flip(-2), scale.flip(-2), w, chunk)
    return sums.flip(-2), tops.flip(-2)


def _before(
    totals: Tensor, scale: Tensor, w: Tensor, span: int
) -> tuple[Tensor, Tensor]:
    """Sum what lies before each item; items are `span` tokens apart."""
    items = scale.shape[-2]
    size = items if items <= _WHOLE else 16 if items <= 256 else 8
    groups = -(-items // size)
    missing = groups * size - items
    totals = grouped(pad(totals, (0, 0, 0, missing)), groups, size)
    scale = grouped(pad(scale, (0, 0, 0, missing), value=EMPTY), groups, size)

    # Row j sees the items before j; the last row is the whole group from behind it.
    place = torch.arange(size + 1, device=w.device, dtype=w.dtype)
    lag = (place.unsqueeze(-1) - 1 - place[:-1]).unsqueeze(-1)
    fade, rest = _fade(w, lag * span)
    fade = torch.where(lag < 0, -torch.inf, fade)
    items_of_row = scale.unsqueeze(-3)
    top = (items_of_row + (fade + rest)).amax(-2).ceil_().clamp_(min=EMPTY)
    weights = items_of_row - top.unsqueeze(-2)
    weights = weights.add_(fade).add_(rest).clamp_(max=1.0).exp_()
    sums = torch.stack([(weights * x.unsqueeze(-3)).sum(-2) for x in totals])
    del weights
    if groups == 1:
        return sums[..., 0, :items, :], top[..., 0, :items, :]

    carry, carry_scale = _before(sums[..., size, :], top[..., size, :], w, span * size)
    sums, top = sums[..., :size, :], top[..., :size, :]
    carry_scale = carry_scale.unsqueeze(-2)
    fade, rest = _fade(w, place[:-1].unsqueeze(-1) * span)
    highest = torch.maximum(top, (carry_scale + (fade + rest)).ceil_())
    highest.clamp_(min=EMPTY)
    older = (carry_scale - highest).add_(fade).add_(rest).clamp_(max=1.0).exp_()
    sums = sums * torch.exp(top - highest)
    sums.addcmul_(carry.unsqueeze(-2), older)
    return (
        sums.flatten(-3, -2)[..., :items, :],
        highest.flatten(-3, -2)[..., :items, :],
    )


def _fade(w: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """-w·distance in two parts, of which the first is exact.

    A decay of hundreds of nats that faces a key as large must not be rounded.
    """
    coarse = w.bfloat16().to(w.dtype)
    return -distance * coarse, -distance * (w - coarse)
