"""Bi-WKV in Triton: chunks summed, carried on, and read out, by three kernels."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK, WIDTH = 64, 32


@triton.jit
def _chunks(
    w_ptr, k_ptr, v_ptr, sums_ptr, tokens, channels, count,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Sum each chunk as seen from its end and from its start."""
    batch, chunk = tl.program_id(2).to(tl.int64), tl.program_id(1)
    column = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    row = tl.arange(0, CHUNK)
    token = chunk * CHUNK + row
    here = (token < tokens)[:, None] & (column < channels)[None, :]
    at = (batch * tokens + token[:, None]) * channels + column[None, :]
    w = tl.load(w_ptr + column, mask=column < channels, other=0.0)
    k = tl.load(k_ptr + at, mask=here, other=-1e30).to(tl.float32)
    v = tl.load(v_ptr + at, mask=here, other=0.0).to(tl.float32)
    top = tl.max(k, 0)
    e = tl.where(here, tl.exp(k - top[None, :]), 0.0)
    to_end = e * tl.exp(-w[None, :] * (CHUNK - 1 - row)[:, None].to(tl.float32))
    to_start = e * tl.exp(-w[None, :] * row[:, None].to(tl.float32))
    out = sums_ptr + (batch * count + chunk) * 5 * channels + column
    real = column < channels
    tl.store(out, tl.sum(to_end * v, 0), mask=real)
    tl.store(out + channels, tl.sum(to_end, 0), mask=real)
    tl.store(out + 2 * channels, tl.sum(to_start * v, 0), mask=real)
    tl.store(out + 3 * channels, tl.sum(to_start, 0), mask=real)
    tl.store(out + 4 * channels, top, mask=real)


@triton.jit
def _carries(
    w_ptr, sums_ptr, carries_ptr, channels, count,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Sum what lies before and behind each chunk."""
    batch = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    real = column < channels
    fade = tl.load(w_ptr + column, mask=real, other=0.0) * CHUNK
    for side in tl.static_range(2):
        values = tl.zeros([WIDTH], tl.float32)
        weights = tl.zeros([WIDTH], tl.float32)
        scale = tl.full([WIDTH], -1e30, tl.float32)
        for i in range(0, count):
            chunk = i if side == 0 else count - 1 - i
            out = carries_ptr + ((batch * count + chunk) * 6 + 3 * side) * channels
            out += column
            tl.store(out, values, mask=real)
            tl.store(out + channels, weights, mask=real)
            tl.store(out + 2 * channels, scale, mask=real)
            own = sums_ptr + (batch * count + chunk) * 5 * channels + column
            own_scale = tl.load(own + 4 * channels, mask=real, other=0.0)
            own += 2 * side * channels
            top = tl.maximum(scale - fade, own_scale)
            old, new = tl.exp(scale - fade - top), tl.exp(own_scale - top)
            values = old * values + new * tl.load(own, mask=real, other=0.0)
            weights = old * weights + new * tl.load(
                own + channels, mask=real, other=0.0
            )
            scale = top


@triton.jit
def _outputs(
    w_ptr, u_ptr, k_ptr, v_ptr, y_ptr, carries_ptr, tokens, channels, count,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Read out each token, within the chunk by cumulative sums about its middle."""
    batch, chunk = tl.program_id(2).to(tl.int64), tl.program_id(1)
    column = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    row = tl.arange(0, CHUNK)
    token = chunk * CHUNK + row
    real = column < channels
    here = (token < tokens)[:, None] & real[None, :]
    at = (batch * tokens + token[:, None]) * channels + column[None, :]
    w = tl.load(w_ptr + column, mask=real, other=0.0)
    u = tl.load(u_ptr + column, mask=real, other=0.0)
    k = tl.load(k_ptr + at, mask=here, other=-1e30).to(tl.float32)
    v = tl.load(v_ptr + at, mask=here, other=0.0).to(tl.float32)
    carry = carries_ptr + (batch * count + chunk) * 6 * channels + column
    past = tl.load(carry, mask=real, other=0.0)
    past_weight = tl.load(carry + channels, mask=real, other=0.0)
    past_scale = tl.load(carry + 2 * channels, mask=real, other=0.0)
    future = tl.load(carry + 3 * channels, mask=real, other=0.0)
    future_weight = tl.load(carry + 4 * channels, mask=real, other=0.0)
    future_scale = tl.load(carry + 5 * channels, mask=real, other=0.0)
    top = tl.maximum(tl.maximum(past_scale, future_scale), tl.max(k, 0))
    e = tl.where(here, tl.exp(k - top[None, :]), 0.0)
    x = e * v
    place = row[:, None].to(tl.float32) - 0.5 * CHUNK
    grow, fade = tl.exp(w[None, :] * place), tl.exp(-w[None, :] * place)
    one = tl.exp(w)[None, :]
    before = (tl.cumsum(x * grow, 0) - x * grow) * fade * one
    before_weight = (tl.cumsum(e * grow, 0) - e * grow) * fade * one
    behind = (tl.cumsum(x * fade, 0, reverse=True) - x * fade) * grow * one
    behind_weight = (tl.cumsum(e * fade, 0, reverse=True) - e * fade) * grow * one
    first = row[:, None].to(tl.float32)
    old = tl.exp(-w[None, :] * first) * tl.exp(past_scale - top)[None, :]
    new = tl.exp(-w[None, :] * (CHUNK - 1 - first))
    new *= tl.exp(future_scale - top)[None, :]
    own = tl.exp(u)[None, :]
    above = before + behind + own * x + old * past[None, :] + new * future[None, :]
    below = before_weight + behind_weight + own * e
    below += old * past_weight[None, :] + new * future_weight[None, :]
    tl.store(y_ptr + at, (above / below).to(y_ptr.dtype.element_ty), mask=here)


def chunked(w: Tensor, u: Tensor, k: Tensor, v: Tensor):
    """Return a function that computes Bi-WKV."""
    batch, tokens, channels = k.shape
    count = triton.cdiv(tokens, CHUNK)
    y = torch.empty_like(k)
    sums = torch.empty(batch * count * 5 * channels, device=k.device)
    carries = torch.empty(batch * count * 6 * channels, device=k.device)
    grid = (triton.cdiv(channels, WIDTH), count, batch)

    def run() -> Tensor:
        _chunks[grid](w, k, v, sums, tokens, channels, count, CHUNK, WIDTH)
        _carries[(grid[0], batch)](w, sums, carries, channels, count, CHUNK, WIDTH)
        _outputs[grid](w, u, k, v, y, carries, tokens, channels, count, CHUNK, WIDTH)
        return y

    return run
