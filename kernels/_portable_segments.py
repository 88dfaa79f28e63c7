"""The published kernels' variant of Bi-WKV in plain PyTorch, with its gradient.

Within a segment of L tokens that starts at s, with x_i = exp(k_i), a token sees

- its past in the segment with the weight exp(-w (t - i - 1)), as in the definition;
- everything after it and everything before the segment one step further away;
- an additional term R_t, the sum over s < i <= t of (1 - exp(w)) exp(w (t - i)) x_i,
  which grows where the definition decays.

All are first-order filters over the segment, with carries between segments.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ._carries import EMPTY, carries
from ._scan import RADIX, factor, fading, grouped, local_sums

__all__ = ["backward", "forward"]


class _Sums(NamedTuple):
    """Terms of one segmented sequence, (Q, B, S, L, C), at e^`scale` each.

    Attributes
    ----------
    own, past, future : Tensor
        The terms, and what lies before and after each of them in its segment.
    grown_past, grown_future : Tensor
        The same with the decay's sign turned round; the segment's first term counts
        as zero in `grown_past`.
    earlier, later : Tensor
        What lies in the segments before and after, as seen from the term.
    """

    own: Tensor
    past: Tensor
    future: Tensor
    grown_past: Tensor
    grown_future: Tensor
    earlier: Tensor
    later: Tensor
    scale: Tensor


def forward(w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int) -> Tensor:
    """Bi-WKV with segments; see :func:`._portable.forward`."""
    tokens = k.shape[1]
    x, scale = _weigh(k, v, segments)
    sums = _sum(x, scale, w, u)
    total = _weighted(sums, w, u)
    return _tokens(total[0] / total[1], tokens)


def backward(
    grad: Tensor, w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, segments: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`forward`; see :func:`._portable.backward`."""
    tokens = k.shape[1]
    x, scale = _weigh(k, v, segments)
    sums = _sum(x, scale, w, u)
    total = _weighted(sums, w, u)
    z = torch.zeros_like(x)
    z[0] = _fold(grad, segments) / total[1]
    z[0, total[1].expand_as(z[0]) == 0] = 0
    z[1] = z[0] * _fold(y, segments)
    grads = _sum(z, -sums.scale, w, torch.zeros_like(u))

    bonus = torch.exp(u)
    gu = bonus * _paired(sums, grads, sums.own, grads.own)
    gw = _by_decay(sums, grads, w)

    step, growth = torch.exp(-w), torch.exp(w)
    inner = torch.ones_like(grads.own)
    inner[..., 0, :] = 0
    seen = bonus * grads.own + grads.future
    seen += step * (grads.later + grads.past + grads.earlier)
    seen -= torch.expm1(w) * inner * (grads.own + growth * grads.grown_future)
    seen *= x[1] * factor(scale + grads.scale).unsqueeze(-2)
    gk = _fold(v, segments) * seen[0] - seen[1]
    return gw, gu, _tokens(gk, tokens), _tokens(seen[0], tokens)


def _length(tokens: int, segments: int) -> int:
    return -(-tokens // segments)


def _fold(x: Tensor, segments: int, fill: float = 0.0) -> Tensor:
    """(B, T, C) to (B, S, L, C), padded."""
    tokens = x.shape[1]
    length = _length(tokens, segments)
    count = -(-tokens // length)
    x = pad(x, (0, 0, 0, count * length - tokens), value=fill)
    return grouped(x, count, length)


def _tokens(x: Tensor, tokens: int) -> Tensor:
    return x.flatten(1, 2)[:, :tokens].contiguous()


def _weigh(k: Tensor, v: Tensor, segments: int) -> tuple[Tensor, Tensor]:
    """exp(k)·v and exp(k), (2, B, S, L, C), and their scales (B, S, C)."""
    folded = _fold(k, segments, -math.inf)
    scale = folded.amax(2).ceil_().clamp_(min=EMPTY)
    weights = torch.exp(folded - scale.unsqueeze(-2))
    return torch.stack((weights * _fold(v, segments), weights)), scale


def _sum(x: Tensor, scale: Tensor, w: Tensor, u: Tensor) -> _Sums:
    """Take all sums; `u` only widens the scale."""
    length = x.shape[-2]
    missing = -length % RADIX if length > RADIX else 0
    padded = pad(x, (0, 0, 0, missing))
    inner = padded.clone()
    inner[..., 0, :] = 0
    past, future, first, last = local_sums(padded, w, together=False)
    grown_past = local_sums(inner, -w, together=False)[0][..., :length, :]
    grown_future = local_sums(padded, -w, together=False)[1][..., :length, :]
    past, future = past[..., :length, :], future[..., :length, :]
    # Padded rows have decayed the sum that is seen from behind the segment.
    last = last * torch.exp(missing * w)
    earlier, earlier_scale = carries(last, scale, w, length)
    later, later_scale = carries(first, scale, w, length, reverse=True)
    top = torch.maximum(torch.maximum(earlier_scale, later_scale), scale)
    top = torch.maximum(top, scale + u.ceil())
    ages = fading(w, length)
    down = torch.exp(scale - top).unsqueeze(-2)
    earlier = (earlier * torch.exp(earlier_scale - top)).unsqueeze(-2) * ages
    later = (later * torch.exp(later_scale - top)).unsqueeze(-2) * ages.flip(0)
    return _Sums(
        own=x * down,
        past=past * down,
        future=future * down,
        grown_past=grown_past * down,
        grown_future=grown_future * down,
        earlier=earlier,
        later=later,
        scale=top,
    )


def _weighted(sums: _Sums, w: Tensor, u: Tensor) -> Tensor:
    """Numerators and denominators."""
    step, growth = torch.exp(-w), torch.exp(w)
    inner = sums.own.clone()
    inner[..., 0, :] = 0
    total = torch.exp(u) * sums.own + sums.past
    total += step * (sums.earlier + sums.future + sums.later)
    total -= torch.expm1(w) * (inner + growth * sums.grown_past)
    return total


def _paired(sums: _Sums, grads: _Sums, a: Tensor, b: Tensor) -> Tensor:
    """Sum over all tokens of a·b, values against p less weights against q."""
    pairs = (a[0] * b[0] - a[1] * b[1]).sum(-2)
    contributions: Tensor = pairs * factor(sums.scale + grads.scale)
    return contributions.sum((0, 1))


def _by_decay(sums: _Sums, grads: _Sums, w: Tensor) -> Tensor:
    """Gradient by w: a factor t - i is a sum over the tokens between t and i."""
    step, growth = torch.exp(-w), torch.exp(w)

    def paired(a: Tensor, b: Tensor) -> Tensor:
        return _paired(sums, grads, a, b)

    local = step * paired(sums.past, grads.future)
    across = paired(sums.past + sums.earlier, grads.later)
    across += paired(sums.earlier, grads.future)
    across = step * (step * across + paired(sums.earlier, grads.own))
    after, before = sums.future + sums.later, grads.past + grads.earlier
    future = step * (step * paired(after, before) + paired(after, grads.own))
    inner = sums.own.clone()
    inner[..., 0, :] = 0
    grown = paired(inner + growth * sums.grown_past, grads.own)
    distance = growth * paired(sums.grown_past, grads.grown_future)
    distance += paired(sums.grown_past, grads.own)
    return (
        -local - across - future - growth * grown - torch.expm1(w) * growth * distance
    )
