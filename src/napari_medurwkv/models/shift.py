"""The token shift of Vision-RWKV, and the mix of tokens with their neighbours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Grid", "q_shift", "shift_mix"]

Grid = tuple[int, int]
"""Height and width of a token grid, in tokens."""


def _shift(x: Tensor, grid: Grid, gamma: float, pixels: int, heads: int = 1) -> Tensor:
    """Do what `q_shift` says; negative `pixels` go the other way."""
    batch, tokens, width_of_all = x.shape
    height, width = grid
    channels = width_of_all // heads
    source = x.reshape(batch, height, width, heads, channels)
    target = torch.zeros_like(source)
    across = max(-width, min(width, pixels))
    down = max(-height, min(height, pixels))
    start = 0
    for part, (axis, step, size) in enumerate(
        ((2, across, width), (2, -across, width), (1, down, height), (1, -down, height))
    ):
        stop = int(channels * gamma * (part + 1))
        kept = size - abs(step)
        moved = source[..., start:stop].narrow(axis, max(-step, 0), kept)
        target[..., start:stop].narrow(axis, max(step, 0), kept).copy_(moved)
        start = stop
    if start < channels:
        target[..., start:] = source[..., start:]
    return target.reshape(batch, tokens, width_of_all)


def q_shift(
    x: Tensor, grid: Grid, gamma: float = 0.25, pixels: int = 1, heads: int = 1
) -> Tensor:
    """Shift quarters of the channels right, left, down and up.

    Parameters
    ----------
    x : Tensor
        Tokens in row-major order, (B, H * W, C).
    grid : tuple of int
        (H, W), in tokens.
    gamma : float
        Fraction of the channels that goes in each direction; what is left stays.
    pixels : int
        Distance in tokens. What comes from outside the image is zero.
    heads : int
        Equal groups of channels, each of which is shifted by itself, as VRWKV6 does.

    Returns
    -------
    Tensor
        Shifted tokens, (B, H * W, C).
    """
    return _shift(x, grid, gamma, pixels, heads)


class _ShiftMix(torch.autograd.Function):
    """Shift and mixes as one node.

    Left to autograd, each write of the shift would clone the whole gradient, and each
    mix would go through the tokens once more than it has to.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        grid: Grid,
        gamma: float,
        pixels: int,
        heads: int,
        *factors: Tensor,
    ) -> tuple[Tensor, ...]:
        shifted = _shift(x, grid, gamma, pixels, heads)
        ctx.save_for_backward(x, shifted, *factors)
        ctx.move = (grid, gamma, -pixels, heads)
        return tuple(torch.lerp(shifted, x, factor) for factor in factors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, shifted, *factors = ctx.saved_tensors
        difference = x - shifted
        through = grads[0] * factors[0]
        total = grads[0]
        for grad, factor in zip(grads[1:], factors[1:], strict=True):
            through = torch.addcmul(through, grad, factor)
            total = total + grad
        # The shift only moves tokens, so its gradient moves them back.
        grad_x = through + _shift(total - through, *ctx.move)
        mixes = [(grad * difference).sum((0, 1), keepdim=True) for grad in grads]
        return grad_x, None, None, None, None, *mixes


def shift_mix(
    x: Tensor,
    grid: Grid,
    factors: tuple[Tensor, ...],
    gamma: float = 0.25,
    pixels: int = 1,
    heads: int = 1,
) -> tuple[Tensor, ...]:
    """Mix tokens with their shifted neighbours, once for each factor.

    Parameters
    ----------
    x : Tensor
        Tokens in row-major order, (B, H * W, C).
    grid : tuple of int
        (H, W), in tokens.
    factors : tuple of Tensor
        Share of the token itself, (1, 1, C) each.
    gamma, pixels, heads
        As in `q_shift`.

    Returns
    -------
    tuple of Tensor
        ``x * factor + q_shift(x) * (1 - factor)``, (B, H * W, C), for each factor.
    """
    own = tuple(factor.to(x.dtype) for factor in factors)
    mixed: tuple[Tensor, ...] = _ShiftMix.apply(  # type: ignore[no-untyped-call]
        x, grid, gamma, pixels, heads, *own
    )
    return mixed
