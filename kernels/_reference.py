"""Bi-WKV by its definition in float64: slow, simple, the yardstick for the rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["bi_wkv_dense", "bi_wkv_reference"]


def bi_wkv_reference(
    w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0
) -> Tensor:
    """Bi-WKV in float64, token by token in log space, on the CPU.

    Each direction keeps a weighted sum of values, the sum of weights, and the
    logarithm of the scale that both share; the scale is always the largest
    exponent met so far, so no exponential can overflow.

    Parameters
    ----------
    w, u : Tensor, shape (C,)
        Decay per token and bonus of the token itself, already divided by the
        token count.
    k, v : Tensor, shape (B, T, C)
        Keys and values.
    segments : int, optional
        Segments of the published kernels' variant, computed from its closed form
        over all pairs of tokens, so T is limited to thousands; 0 for the definition.

    Returns
    -------
    Tensor, shape (B, T, C), float64
    """
    w, u, k, v = (x.detach().to("cpu", torch.float64) for x in (w, u, k, v))
    if segments:
        parts = [
            bi_wkv_dense(w[c], u[c], k[..., c], v[..., c], segments)
            for c in (slice(i, i + 2) for i in range(0, k.shape[2], 2))
        ]
        return torch.cat(parts, 2) if parts else k.clone()
    past = _walk(w, k, v)
    future = [x.flip(1) for x in _walk(w, k.flip(1), v.flip(1))]
    own = u + k
    top = torch.maximum(torch.maximum(past[2], future[2]), own)
    terms = [
        (past[0], past[1], torch.exp(past[2] - top)),
        (future[0], future[1], torch.exp(future[2] - top)),
        (v, torch.ones_like(v), torch.exp(own - top)),
    ]
    numerator = sum(value * factor for value, _, factor in terms)
    denominator = sum(weight * factor for _, weight, factor in terms)
    return torch.as_tensor(numerator / denominator)


def _walk(w: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    """Sum all earlier tokens before each token: values, weights, scale."""
    values = torch.zeros_like(k)
    weights = torch.zeros_like(k)
    scale = torch.full_like(k, -math.inf)
    for t in range(1, k.shape[1]):
        faded = scale[:, t - 1] - w
        top = torch.maximum(faded, k[:, t - 1])
        old, new = torch.exp(faded - top), torch.exp(k[:, t - 1] - top)
        values[:, t] = old * values[:, t - 1] + new * v[:, t - 1]
        weights[:, t] = old * weights[:, t - 1] + new
        scale[:, t] = top
    return [values, weights, scale]


def bi_wkv_dense(
    w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0
) -> Tensor:
    """Bi-WKV as a softmax over all pairs of tokens, differentiable by autograd.

    Memory grows with the square of the token count: for tests only.

    Parameters
    ----------
    w, u : Tensor, shape (C,)
        Decay per token and bonus of the token itself.
    k, v : Tensor, shape (B, T, C)
        Keys and values.
    segments : int, optional
        Segments of the published kernels' variant; 0 for the definition.

    Returns
    -------
    Tensor, shape (B, T, C), dtype of `k`
    """
    place = torch.arange(k.shape[1], device=k.device)
    between = (place[:, None] - place[None, :]).abs().sub(1).unsqueeze(-1)
    exponents = torch.where(between < 0, u, -w * between.to(k.dtype))
    if segments:
        return _segmented(w, exponents, k, v, place, segments)
    weights = torch.softmax(exponents + k.unsqueeze(1), dim=2)
    return (weights * v.unsqueeze(1)).sum(2)


def _segmented(
    w: Tensor, exponents: Tensor, k: Tensor, v: Tensor, place: Tensor, segments: int
) -> Tensor:
    """Give the published kernels' closed form; `exponents` are the definition's."""
    length = -(-len(place) // segments)
    start = (place // length * length)[:, None]
    t, i = place[:, None], place[None, :]
    further = ((i < start) | (i > t)).unsqueeze(-1)
    inner = ((start < i) & (i <= t)).unsqueeze(-1)
    distance = (t - i).clamp(min=0).unsqueeze(-1).to(k.dtype)
    factors = torch.exp(torch.where(further, exponents - w, exponents))
    grown = torch.expm1(w) * torch.exp(torch.where(inner, w * distance, 0.0))
    factors = torch.where(inner, factors - grown, factors)
    x = torch.exp(k - k.detach().amax(1, keepdim=True))
    numerator = torch.einsum("tic,bic->btc", factors, x * v)
    return numerator / torch.einsum("tic,bic->btc", factors, x)
