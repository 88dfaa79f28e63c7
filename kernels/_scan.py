"""Decayed sums along short stretches of a sequence, in linear space."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["RADIX", "factor", "fading", "grouped", "local_sums"]

RADIX = 8
EXPONENT_CAP = 80.0
"""Keeps a scale factor finite in float32 where its partner is zero anyway."""


def grouped(x: Tensor, groups: int, rows: int) -> Tensor:
    """(..., groups * rows, C) to (..., groups, rows, C)."""
    return x.reshape(*x.shape[:-2], groups, rows, x.shape[-1])


def fading(w: Tensor, count: int, span: int = 1) -> Tensor:
    """exp(-w·span·j) for j in 0..count-1, shape (count, C)."""
    steps = torch.arange(count, device=w.device, dtype=w.dtype) * -span
    return torch.exp(steps.unsqueeze(-1) * w)


def factor(exponent: Tensor) -> Tensor:
    return torch.exp(exponent.clamp(max=EXPONENT_CAP))


def local_sums(
    x: Tensor, w: Tensor, *, together: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Decayed sums of what lies before and after each row of each chunk.

    Parameters
    ----------
    x : Tensor, shape (Q, B, chunks, rows, C)
        Terms; rows are fewer than ``RADIX`` or a multiple of it.
    w : Tensor, shape (C,)
        Decay per token.
    together : bool
        Add both directions up instead of keeping them apart.

    Returns
    -------
    past, future : Tensor, shape of x
        One and the same tensor if `together`.
    first, last : Tensor, shape (Q, B, chunks, C)
        Each chunk's sum as seen from just before and just after it.
    """
    rows = x.shape[-2]
    if rows == 1:
        alone = torch.zeros_like(x)
        return alone, alone if together else alone.clone(), x[..., 0, :], x[..., 0, :]
    radix = min(rows, RADIX)
    groups = rows // radix
    x = grouped(x, groups, radix)
    decay = torch.exp(-w)
    past, last = _walk(x, decay)
    future = past if together else torch.empty_like(past)
    if not together:
        future[..., -1, :].zero_()
    first = x[..., -1, :].clone()
    for j in range(radix - 2, -1, -1):
        if together:
            past[..., j, :].add_(first)
        else:
            future[..., j, :].copy_(first)
        first = torch.addcmul(x[..., j, :], first, decay)
    if groups > 1:
        carry = _prefix(torch.stack((last, first.flip(-2))), w, radix)
        before, after = carry[0], carry[1].flip(-2)
        ages = fading(w, radix)
        past.addcmul_(before.unsqueeze(-2), ages)
        future.addcmul_(after.unsqueeze(-2), ages.flip(0))
        step = torch.exp(-radix * w)
        last = torch.addcmul(last[..., -1, :], before[..., -1, :], step)
        first = torch.addcmul(first[..., 0, :], after[..., 0, :], step)
    else:
        last, first = last[..., 0, :], first[..., 0, :]
    return past.flatten(-3, -2), future.flatten(-3, -2), first, last


def _walk(x: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    """Decayed sums before each row of the groups (..., radix, C), and in all."""
    sums = torch.empty_like(x)
    sums[..., 0, :].zero_()
    for j in range(1, x.shape[-2]):
        torch.addcmul(x[..., j - 1, :], sums[..., j - 1, :], decay, out=sums[..., j, :])
    return sums, torch.addcmul(x[..., -1, :], sums[..., -1, :], decay)


def _prefix(x: Tensor, w: Tensor, span: int) -> Tensor:
    """Decayed sums before each row of (..., n, C), rows `span` tokens apart."""
    n = x.shape[-2]
    if n <= RADIX:
        return _walk(x, torch.exp(-span * w))[0]
    groups = -(-n // RADIX)
    x = grouped(pad(x, (0, 0, 0, groups * RADIX - n)), groups, RADIX)
    sums, totals = _walk(x, torch.exp(-span * w))
    carry = _prefix(totals, w, span * RADIX)
    sums.addcmul_(carry.unsqueeze(-2), fading(w, RADIX, span))
    return sums.flatten(-3, -2)[..., :n, :]
