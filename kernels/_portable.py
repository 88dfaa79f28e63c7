"""Bi-WKV and its gradient in plain PyTorch: any device, any length, no token loop.

Sums along the sequence are taken by a scan with a fixed radix: eight neighbours
are walked for all groups of the sequence at once, the groups' totals are scanned
in the same way, and the carries are handed back. As long as the decay over a
stretch of tokens stays within ``LINEAR_RANGE`` the stretch is summed in linear
space on one common scale; carries between stretches hold a scale of their own,
so that neither the spread of the keys nor the decay can overflow or cancel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from . import _portable_segments, _portable_whole
from ._carries import EMPTY, carries
from ._scan import RADIX, factor, fading, grouped, local_sums

__all__ = ["DIFFERENTIATES_SEGMENTS", "TAKES_HALVES", "backward", "forward"]

TAKES_HALVES = False
DIFFERENTIATES_SEGMENTS = True

LINEAR_RANGE = 16.0
"""Largest |w|·tokens, in nats, that is summed on one common scale."""


def forward(w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0) -> Tensor:
    """Bi-WKV of contiguous tensors of one dtype, float32 or float64.

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
    Tensor, shape (B, T, C)
    """
    if segments:
        return _portable_segments.forward(w, u, k, v, segments)
    tokens = k.shape[1]
    if tokens == 1:
        return v.clone()
    chunk = _chunk_length(w, u, tokens)
    if chunk == tokens and k.device.type != "cpu":
        return _portable_whole.forward(w, u, k, v)
    x, scale = _weigh(k, v, chunk)
    sums, _, first, last = local_sums(x, w, together=True)
    bonus = u.round()
    own = torch.exp(u - bonus)
    if x.shape[2] == 1:
        sums.addcmul_(x, own * torch.exp(bonus))
    else:
        past, past_scale = carries(last, scale, w, chunk)
        future, future_scale = carries(first, scale, w, chunk, reverse=True)
        own_scale = scale + bonus
        top = torch.maximum(torch.maximum(past_scale, future_scale), own_scale)
        if chunk > 1:
            top = torch.maximum(top, scale)
            sums *= torch.exp(scale - top).unsqueeze(-2)
        ages = fading(w, chunk)
        past *= torch.exp(past_scale - top)
        future *= torch.exp(future_scale - top)
        sums.addcmul_(past.unsqueeze(-2), ages)
        sums.addcmul_(future.unsqueeze(-2), ages.flip(0))
        sums.addcmul_(x, (own * torch.exp(own_scale - top)).unsqueeze(-2))
    y = torch.div(sums[0], sums[1], out=sums[0])
    return _tokens(y, tokens).contiguous()


def backward(
    grad: Tensor,
    w: Tensor,
    u: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    segments: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`forward`.

    With D the denominator, p = grad / D and q = p·y, the keys and values receive
    the same symmetric sums of p and q as the forward pass takes of the weights.
    A pair of tokens at distance d holds d - 1 tokens between them, so the factor
    d - 1 in the derivative by ``w`` is a sum over the token between: the product
    of what lies before it and what comes after it.

    Parameters
    ----------
    grad, k, v, y : Tensor, shape (B, T, C)
        Gradient by the output, keys, values and the output.
    w, u : Tensor, shape (C,)
        Decay per token and bonus of the token itself.
    segments : int, optional
        As in the forward pass.

    Returns
    -------
    tuple of Tensor
        Gradients by w, u, k and v.
    """
    if segments:
        return _portable_segments.backward(grad, w, u, k, v, y, segments)
    tokens = k.shape[1]
    if tokens == 1:
        return (
            torch.zeros_like(w),
            torch.zeros_like(u),
            torch.zeros_like(k),
            grad.clone(),
        )
    chunk = _chunk_length(w, u, tokens)
    if chunk == tokens and k.device.type != "cpu":
        return _portable_whole.backward(grad, w, u, k, v, y)
    x, scale = _weigh(k, v, chunk)
    past, future, past_scale, future_scale = _scaled_states(x, scale, w, chunk)
    bonus = u.round()
    own = torch.exp(u - bonus)
    own_scale = scale + bonus
    top = torch.maximum(torch.maximum(past_scale, future_scale), own_scale)
    own_weight = (own * torch.exp(own_scale - top)).unsqueeze(-2)

    weights = x[1]
    total = weights * own_weight
    total.addcmul_(past[1], torch.exp(past_scale - top).unsqueeze(-2))
    total.addcmul_(future[1], torch.exp(future_scale - top).unsqueeze(-2))
    # Rows beyond the last token hold no gradient; their denominator may be zero.
    z = torch.zeros_like(x)
    folded = _fold(grad, chunk, x.shape[2], x.shape[3])
    torch.where(folded == 0, folded, folded / total, out=z[0])
    torch.mul(z[0], _fold(y, chunk, x.shape[2], x.shape[3]), out=z[1])
    del total, folded

    before, after, before_scale, after_scale = _scaled_states(z, -top, w, chunk)
    gw = _between(past, after, past_scale + after_scale, w)
    gw += _between(future, before, future_scale + before_scale, w)
    del past, future

    z *= own_weight
    values = _fold(v, chunk, x.shape[2], x.shape[3])
    gu = (weights * (values * z[0] - z[1])).sum((0, 1, 2))
    sums = z
    sums.addcmul_(before, factor(before_scale + scale).unsqueeze(-2))
    sums.addcmul_(after, factor(after_scale + scale).unsqueeze(-2))
    sums *= weights
    gv = sums[0]
    gk = values * gv - sums[1]
    return -gw, gu, _tokens(gk, tokens).contiguous(), _tokens(gv, tokens).contiguous()


def _chunk_length(w: Tensor, u: Tensor, tokens: int) -> int:
    """Longest stretch that may share one scale; the whole sequence if possible.

    Reading the decay waits for the device once a call. A graph that is being captured
    must not wait: there every token keeps a scale of its own.
    """
    if w.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return 1
    decays, bonuses = torch.stack((w, u)).cpu().abs()
    steepest, bonus = float(decays.max()), float(bonuses.max())
    if not bonus <= LINEAR_RANGE:
        return 1
    if steepest * tokens <= LINEAR_RANGE:
        return tokens
    longest = LINEAR_RANGE / steepest if steepest > 0 else 0.0
    return RADIX * math.floor(longest / RADIX) or 1


def _weigh(k: Tensor, v: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """exp(k)·v and exp(k), folded into chunks, with one integer scale per chunk.

    Returns a tensor (2, B, chunks, rows, C), whose rows beyond the last token
    are zero, and the scales (B, chunks, C).
    """
    batch, tokens, channels = k.shape
    chunks = -(-tokens // chunk)
    missing = chunks * chunk - tokens
    if missing:
        k = pad(k, (0, 0, 0, missing), value=-math.inf)
        v = pad(v, (0, 0, 0, missing))
    k = k.view(batch, chunks, chunk, channels)
    v = v.view(batch, chunks, chunk, channels)
    rows = chunk if chunk < RADIX else RADIX * -(-chunk // RADIX)
    x = k.new_empty((2, batch, chunks, rows, channels))
    x[:, :, :, chunk:].zero_()
    scale = k.amax(2).ceil_().clamp_(min=EMPTY)
    weights = x[1, :, :, :chunk]
    torch.sub(k, scale.unsqueeze(-2), out=weights)
    weights.exp_()
    torch.mul(weights, v, out=x[0, :, :, :chunk])
    return x, scale


def _fold(x: Tensor, chunk: int, chunks: int, rows: int) -> Tensor:
    """(B, T, C) to (B, chunks, rows, C), padded by zeros."""
    x = pad(x, (0, 0, 0, chunks * chunk - x.shape[1]))
    return pad(grouped(x, chunks, chunk), (0, 0, 0, rows - chunk))


def _tokens(x: Tensor, tokens: int) -> Tensor:
    """(B, chunks, rows, C) to (B, T, C)."""
    return x.flatten(1, 2)[:, :tokens]


def _scaled_states(
    x: Tensor, scale: Tensor, w: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum what lies before and after each row of the sequence; with scales."""
    past, future, first, last = local_sums(x, w, together=False)
    if x.shape[2] == 1:
        return past, future, scale, scale
    past_scale = _addcarries(past, scale, carries(last, scale, w, chunk), w)
    future_scale = _addcarries(
        future, scale, carries(first, scale, w, chunk, reverse=True), w, reverse=True
    )
    return past, future, past_scale, future_scale


def _addcarries(
    states: Tensor,
    scale: Tensor,
    carries: tuple[Tensor, Tensor],
    w: Tensor,
    *,
    reverse: bool = False,
) -> Tensor:
    """Add carries to the chunks' states in place and return the new scales."""
    carry, carry_scale = carries
    rows = states.shape[-2]
    top = carry_scale if rows == 1 else torch.maximum(carry_scale, scale)
    ages = fading(w, rows)
    states *= factor(scale - top).unsqueeze(-2)
    carry = carry * torch.exp(carry_scale - top)
    states.addcmul_(carry.unsqueeze(-2), ages.flip(0) if reverse else ages)
    return top


def _between(weights: Tensor, grads: Tensor, scale: Tensor, w: Tensor) -> Tensor:
    """Sum over tokens of what the pairs around each of them contribute to w."""
    pairs = (weights[0] * grads[0]).sum(-2)
    pairs -= (weights[1] * grads[1]).sum(-2)
    contributions: Tensor = pairs * factor(scale - w)
    return contributions.sum((0, 1))
