"""Bi-WKV of a whole sequence on one scale, by cumulative sums.

For devices on which every operation costs a launch, and for decays that span few nats:
then a sequence's largest key counts everywhere, so that one scale does for all of it. A
decayed sum is a cumulative sum of terms that were multiplied by a power of the decay,
and tokens lie next to each other in memory, where cumulative sums are fast.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["backward", "forward"]


class _Powers(NamedTuple):
    """Powers of the decay, (C, T), from the sequence's middle: no sum loses digits.

    Attributes
    ----------
    grow, fade : Tensor
        exp(w t) and exp(-w t), for the terms.
    grow_next, fade_next : Tensor
        One token further, for the sums.
    """

    grow: Tensor
    fade: Tensor
    grow_next: Tensor
    fade_next: Tensor


def _powers(w: Tensor, tokens: int) -> _Powers:
    half = tokens // 2
    place = torch.arange(-half, tokens - half, device=w.device, dtype=w.dtype)
    exponent = w.unsqueeze(-1) * place
    next_exponent = w.unsqueeze(-1)
    grow, fade = exponent.exp(), exponent.neg().exp_()
    step = next_exponent.exp()
    return _Powers(grow, fade, grow * step, fade * step)


def _weigh(k: Tensor, v: Tensor) -> Tensor:
    """exp(k)·v and exp(k) on the scale of the largest, (2, B, C, T)."""
    batch, tokens, channels = k.shape
    x = k.new_empty((2, batch, channels, tokens))
    torch.sub(k.mT, k.amax(1, keepdim=True).mT, out=x[1])
    x[1].exp_()
    torch.mul(x[1], v.mT, out=x[0])
    return x


def _before(x: Tensor, powers: _Powers) -> Tensor:
    """Sum what lies before the second token and each after it, yet to be faded."""
    return torch.cumsum(x * powers.grow, -1)[..., :-1]


def _behind(x: Tensor, powers: _Powers) -> Tensor:
    """Sum what lies behind each token but the last, yet to be faded."""
    return torch.cumsum((x * powers.fade).flip(-1), -1).flip(-1)[..., 1:]


def _both(x: Tensor, powers: _Powers) -> tuple[Tensor, Tensor]:
    """Sum what lies before and behind each token."""
    before, behind = torch.zeros_like(x), torch.zeros_like(x)
    torch.mul(_before(x, powers), powers.fade_next[:, 1:], out=before[..., 1:])
    torch.mul(_behind(x, powers), powers.grow_next[:, :-1], out=behind[..., :-1])
    return before, behind


def forward(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Bi-WKV; as :func:`._portable.forward` where |w| T and |u| are small."""
    powers = _powers(w, k.shape[1])
    x = _weigh(k, v)
    total = x * u.exp().unsqueeze(-1)
    total[..., 1:].addcmul_(_before(x, powers), powers.fade_next[:, 1:])
    total[..., :-1].addcmul_(_behind(x, powers), powers.grow_next[:, :-1])
    y = torch.empty_like(k)
    torch.div(total[0], total[1], out=y.mT)
    return y


def backward(
    grad: Tensor, w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`forward`; see :func:`._portable.backward`."""
    powers = _powers(w, k.shape[1])
    x = _weigh(k, v)
    past, future = _both(x, powers)
    bonus = u.exp().unsqueeze(-1)
    z = torch.empty_like(x)
    torch.div(grad.mT, (x[1] * bonus).add_(past[1]).add_(future[1]), out=z[0])
    torch.mul(z[0], y.mT, out=z[1])
    before, after = _both(z, powers)
    pairs = past[0] * after[0]
    pairs.addcmul_(past[1], after[1], value=-1).addcmul_(future[0], before[0])
    pairs.addcmul_(future[1], before[1], value=-1)
    gw = -torch.exp(-w) * pairs.sum((0, 2))
    z *= bonus
    gu = (x[0] * z[0]).addcmul_(x[1], z[1], value=-1).sum((0, 2))
    z.add_(before).add_(after).mul_(x[1])
    gv = torch.empty_like(v)
    gv.copy_(z[0].mT)
    gk = torch.addcmul(-z[1], z[0], v.mT).mT.contiguous()
    return gw, gu, gk, gv
