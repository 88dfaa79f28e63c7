"""WKV6, the attention of VRWKV6, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["wkv6"]

# Tokens that are compared pair by pair; between chunks only the state passes.
_CHUNK = 16


def wkv6(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    r"""Bidirectional WKV6 attention with decays that depend on the data.

    Each head keeps a state, a matrix of keys by values. With
    :math:`d_t = e^{-e^{w_t}}` the forward sweep is

    .. math::
        y_t = r_t\,(S + \mathrm{diag}(u\,k_t)\,\mathbf{1}v_t^T),\quad
        S \leftarrow \mathrm{diag}(d_t)\,S + k_t v_t^T

    and a backward sweep, without the bonus `u`, is added to it.

    Parameters
    ----------
    r, k, v : Tensor, shape (B, T, C)
        Receptance, key and value.
    w : Tensor, shape (B, T, C)
        Logarithm of the negative logarithm of the decay per token.
    u : Tensor, shape (H, N)
        Bonus of the token itself; H heads of N channels, H * N = C.

    Returns
    -------
    Tensor, shape (B, T, C), dtype of `k`
        Computed in float32 at least.

    References
    ----------
    Peng et al., "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic
    Recurrence", COLM 2024, section 4; made bidirectional as in Vision-RWKV.
    """
    batch, tokens, channels = k.shape
    heads, size = u.shape
    if heads * size != channels or not r.shape == k.shape == v.shape == w.shape:
        raise ValueError(
            f"wkv6: r, k, v and w must have one shape (B, T, {heads * size}), not "
            f"{tuple(r.shape)}, {tuple(k.shape)}, {tuple(v.shape)} and "
            f"{tuple(w.shape)}."
        )
    wide = torch.promote_types(k.dtype, torch.float32)
    # (B, H, T, N)
    parts = [
        x.to(wide).reshape(batch, tokens, heads, size).transpose(1, 2)
        for x in (r, k, v, _log_decay(w.to(wide)))
    ]
    bonus = u.to(wide)[None, :, None, :]
    receptance, key, value, _ = parts
    own = (receptance * bonus * key).sum(-1, keepdim=True) * value
    back = _sweep(*(x.flip(2) for x in parts)).flip(2)
    y = _sweep(*parts) + back + own
    return y.transpose(1, 2).reshape(batch, tokens, channels).to(k.dtype)


def _log_decay(w: Tensor) -> Tensor:
    """Return the logarithm of the decay, cut where the decay underflows to zero.

    Uncut, one huge decay would swallow its neighbours in the sums of a chunk.
    """
    return -torch.exp(w).clamp(max=746.0 if w.dtype == torch.float64 else 104.0)


def _sweep(r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Run one direction over (B, H, T, N): y_t from the tokens before t."""
    tokens = k.shape[2]
    rest = -tokens % _CHUNK
    if rest:
        r, k, v, log_decay = (F.pad(x, (0, 0, 0, rest)) for x in (r, k, v, log_decay))
    shape = (*k.shape[:2], -1, _CHUNK, k.shape[3])
    r, k, v, log_decay = (x.reshape(shape) for x in (r, k, v, log_decay))
    after = log_decay.cumsum(3)
    before = after - log_decay
    total = after[:, :, :, -1:]
    # Every exponent below is a sum of decays, never positive: nothing can overflow.
    gain = k * torch.exp(total - after)
    into = gain.transpose(-1, -2) @ v
    reach = r * torch.exp(before)
    earlier = torch.ones(_CHUNK, _CHUNK, dtype=torch.bool, device=k.device).tril(-1)
    state = torch.zeros_like(into[:, :, 0])
    out = []
    for chunk in range(k.shape[2]):
        gap = before[:, :, chunk, :, None] - after[:, :, chunk, None]
        gap = gap.masked_fill(~earlier[..., None], -torch.inf)
        scores = torch.einsum(
            "bhtn,bhin,bhtin->bhti", r[:, :, chunk], k[:, :, chunk], torch.exp(gap)
        )
        out.append(scores @ v[:, :, chunk] + reach[:, :, chunk] @ state)
        fade = torch.exp(total[:, :, chunk]).transpose(-1, -2)
        state = fade * state + into[:, :, chunk]
    return torch.cat(out, 2)[:, :, :tokens]
