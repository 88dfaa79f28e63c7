"""The token shift and the mix with the neighbours it brings, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bounds", "mix", "mix_backward", "shift"]


def bounds(channels: int, gamma: float) -> tuple[int, int, int, int]:
    """Where the four parts of a head's channels end."""
    one, two, three, four = (int(channels * gamma * part) for part in (1, 2, 3, 4))
    return one, two, three, four


def shift(
    x: Tensor, height: int, width: int, gamma: float, pixels: int, heads: int
) -> Tensor:
    """Shift; negative `pixels` go the other way. See :func:`._shift_mix.q_shift`."""
    batch, tokens, width_of_all = x.shape
    channels = width_of_all // heads
    source = x.reshape(batch, height, width, heads, channels)
    target = torch.zeros_like(source)
    across = max(-width, min(width, pixels))
    down = max(-height, min(height, pixels))
    steps = ((2, across, width), (2, -across, width), (1, down, height))
    start = 0
    for stop, (axis, step, size) in zip(
        bounds(channels, gamma), (*steps, (1, -down, height)), strict=True
    ):
        kept = size - abs(step)
        moved = source[..., start:stop].narrow(axis, max(-step, 0), kept)
        target[..., start:stop].narrow(axis, max(step, 0), kept).copy_(moved)
        start = stop
    if start < channels:
        target[..., start:] = source[..., start:]
    return target.reshape(batch, tokens, width_of_all)


def mix(
    x: Tensor,
    factors: list[Tensor],
    height: int,
    width: int,
    gamma: float,
    pixels: int,
    heads: int,
) -> list[Tensor]:
    """Mix tokens with their shifted neighbours, once for each factor."""
    shifted = shift(x, height, width, gamma, pixels, heads)
    return [torch.lerp(shifted, x, factor.flatten()) for factor in factors]


def mix_backward(
    grads: list[Tensor],
    x: Tensor,
    factors: list[Tensor],
    height: int,
    width: int,
    gamma: float,
    pixels: int,
    heads: int,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of :func:`mix` by the tokens and by the factors."""
    difference = x - shift(x, height, width, gamma, pixels, heads)
    through = grads[0] * factors[0].flatten()
    total = grads[0]
    for grad, factor in zip(grads[1:], factors[1:], strict=True):
        through = torch.addcmul(through, grad, factor.flatten())
        total = total + grad
    # The shift only moves tokens, so its gradient moves them back.
    back = shift(total - through, height, width, gamma, -pixels, heads)
    by_factor = [
        (grad * difference).sum((0, 1)).view_as(factor)
        for grad, factor in zip(grads, factors, strict=True)
    ]
    return through + back, by_factor
