"""WKV6, the attention of VRWKV6, and its gradient in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["backward", "forward"]

# Tokens that are compared pair by pair; between chunks only the state passes.
_CHUNK = 16


def forward(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """WKV6 of contiguous tensors of one dtype; see :func:`._wkv6.wkv6`."""
    parts = [_by_head(x, u) for x in (r, k, v, _log_decay(w))]
    receptance, key, value, _ = parts
    own = (receptance * u[:, None] * key).sum(-1, keepdim=True) * value
    back = _sweep(*(x.flip(2) for x in parts)).flip(2)
    return _by_token(_sweep(*parts) + back + own)


def backward(
    grad: Tensor, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`forward` by r, k, v, w and u."""
    log_decay = _log_decay(w)
    parts = [_by_head(x, u) for x in (r, k, v, log_decay, grad)]
    receptance, key, value, _, g = parts
    ahead = _sweep_backward(*parts)
    back = _sweep_backward(*(x.flip(2) for x in parts))
    gr, gk, gv, by_log = (a + b.flip(2) for a, b in zip(ahead, back, strict=True))
    bonus = u[:, None]
    seen = (g * value).sum(-1, keepdim=True)
    gu = (receptance * key * seen).sum((0, 2))
    gr = gr + bonus * key * seen
    gk = gk + bonus * receptance * seen
    gv = gv + (receptance * bonus * key).sum(-1, keepdim=True) * g
    # The logarithm is cut where the decay is zero; there it does not depend on w.
    slope = torch.where(log_decay > -_limit(w.dtype), log_decay, 0.0)
    return _by_token(gr), _by_token(gk), _by_token(gv), _by_token(by_log) * slope, gu


def _by_head(x: Tensor, u: Tensor) -> Tensor:
    """(B, T, C) to (B, H, T, N)."""
    return x.reshape(*x.shape[:2], *u.shape).transpose(1, 2)


def _by_token(x: Tensor) -> Tensor:
    """(B, H, T, N) to (B, T, C)."""
    return x.transpose(1, 2).flatten(2)


def _limit(dtype: torch.dtype) -> float:
    return 746.0 if dtype == torch.float64 else 104.0


def _log_decay(w: Tensor) -> Tensor:
    """Return the logarithm of the decay, cut where the decay underflows to zero.

    Uncut, one huge decay would swallow its neighbours in the sums of a chunk.
    """
    return -torch.exp(w).clamp(max=_limit(w.dtype))


def _fading(log_decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Decays from a chunk's start to each token, from there to its end, and over all.

    Every exponent is a sum of decays, never positive, so nothing can overflow; and
    none is the difference of two sums, so a huge decay costs its neighbours nothing.
    """
    return (
        torch.exp(_sum_before(log_decay)),
        torch.exp(_sum_before(log_decay.flip(-2)).flip(-2)),
        torch.exp(log_decay.sum(-2, keepdim=True)).transpose(-1, -2),
    )


def _sum_before(x: Tensor) -> Tensor:
    """Sum the rows before each row of (..., n, N)."""
    return F.pad(x.cumsum(-2)[..., :-1, :], (0, 0, 1, 0))


def _between(log_decay: Tensor) -> Tensor:
    """Decays between tokens i and t of a chunk, (..., t, i, N); zero unless i < t."""
    size = log_decay.shape[-2]
    later = torch.ones(size, size, dtype=torch.bool, device=log_decay.device).tril(-1)
    terms = torch.where(later.unsqueeze(-1), log_decay.unsqueeze(-2), 0.0)
    gaps = F.pad(terms.cumsum(-3)[..., :-1, :, :], (0, 0, 0, 0, 1, 0))
    return torch.exp(gaps.masked_fill(~later.unsqueeze(-1), -torch.inf))


def _sweep(r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Run one direction over (B, H, T, N): y_t from the tokens before t."""
    tokens = k.shape[2]
    rest = -tokens % _CHUNK
    if rest:
        r, k, v, log_decay = (F.pad(x, (0, 0, 0, rest)) for x in (r, k, v, log_decay))
    shape = (*k.shape[:2], -1, _CHUNK, k.shape[3])
    r, k, v, log_decay = (x.reshape(shape) for x in (r, k, v, log_decay))
    inward, outward, fade = _fading(log_decay)
    into = (k * outward).transpose(-1, -2) @ v
    reach = r * inward
    state = torch.zeros_like(into[:, :, 0])
    out = []
    for chunk in range(k.shape[2]):
        decays = _between(log_decay[:, :, chunk])
        scores = torch.einsum(
            "bhtn,bhin,bhtin->bhti", r[:, :, chunk], k[:, :, chunk], decays
        )
        out.append(scores @ v[:, :, chunk] + reach[:, :, chunk] @ state)
        state = fade[:, :, chunk] * state + into[:, :, chunk]
    return torch.cat(out, 2)[:, :, :tokens]


def _sweep_backward(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`_sweep` by r, k, v and the logarithm of the decay."""
    tokens = k.shape[2]
    rest = -tokens % _CHUNK
    shape = (*k.shape[:2], -1, _CHUNK, k.shape[3])
    r, k, v, log_decay, grad = (
        F.pad(x, (0, 0, 0, rest)).reshape(shape) for x in (r, k, v, log_decay, grad)
    )
    inward, outward, fade = _fading(log_decay)
    gain, reach = k * outward, r * inward
    into = gain.transpose(-1, -2) @ v
    out_of = reach.transpose(-1, -2) @ grad
    chunks = k.shape[2]
    states = [torch.zeros_like(into[:, :, 0])]
    for chunk in range(chunks - 1):
        states.append(fade[:, :, chunk] * states[-1] + into[:, :, chunk])
    adjoint = torch.zeros_like(states[0])
    later = torch.ones(_CHUNK, _CHUNK, dtype=torch.bool, device=k.device).tril(-1)
    later = later.unsqueeze(-1)
    found: list[tuple[Tensor, ...]] = []
    for chunk in reversed(range(chunks)):
        rc, kc, vc, gc = (x[:, :, chunk] for x in (r, k, v, grad))
        decays = _between(log_decay[:, :, chunk])
        scores = torch.einsum("bhtn,bhin,bhtin->bhti", rc, kc, decays)
        by_scores = gc @ vc.transpose(-1, -2)
        gr = torch.einsum("bhti,bhin,bhtin->bhtn", by_scores, kc, decays)
        from_before = inward[:, :, chunk] * (gc @ states[chunk].transpose(-1, -2))
        gr += from_before
        gk = torch.einsum("bhti,bhtn,bhtin->bhin", by_scores, rc, decays)
        outside = outward[:, :, chunk] * (vc @ adjoint.transpose(-1, -2))
        gk += outside
        gv = scores.transpose(-1, -2) @ gc + gain[:, :, chunk] @ adjoint
        # Token s fades what tokens before it give to tokens after it: pairs in the
        # chunk, the state that came in, what goes out, and what passes through. Only
        # terms that it fades are summed, none is subtracted again.
        pairs = by_scores.unsqueeze(-1) * decays * rc.unsqueeze(-2) * kc.unsqueeze(-3)
        by_log = _sum_before(pairs).masked_fill(~later, 0.0).sum(-3)
        by_log += _sum_before((rc * from_before).flip(2)).flip(2)
        by_log += _sum_before(kc * outside)
        by_log += (fade[:, :, chunk] * states[chunk] * adjoint).sum(-1).unsqueeze(2)
        found.append((gr, gk, gv, by_log))
        adjoint = fade[:, :, chunk] * adjoint + out_of[:, :, chunk]
    gr, gk, gv, by_log = (
        torch.cat(parts[::-1], 2)[:, :, :tokens] for parts in zip(*found, strict=True)
    )
    return gr, gk, gv, by_log
