"""Launches the token shift and mixing kernels."""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING

import torch

from ._cuda_bi_wkv import ELEMENTS, sum_rows
from ._cuda_launch import kernel, processors, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ._cuda_driver import Kernel

__all__ = ["shift_mix_backward", "shift_mix_forward"]

MOST = 6
"""Mixtures that one launch can make."""
_SOURCES = ("cuda_elements.cuh", "shift_mix.cu")
_ARGUMENTS = struct.Struct("20Q10i")
_THREADS = 256


@functools.lru_cache(maxsize=1024)
def _launch(
    index: int,
    dtype: torch.dtype,
    mixes: int,
    channels: int,
    divisor: int,
    name: str,
) -> tuple[Kernel, int, int, int]:
    """Kernel, channels per thread, and a block's threads along channels and tokens.

    `divisor` is the largest power of two that divides all places where a vector may
    begin: addresses and the bounds between directions, in elements.
    """
    vector = min(divisor, 16 // dtype.itemsize)
    macros = (("ELEMENT", ELEMENTS[dtype]), ("MIXES", mixes), ("VEC", vector))
    across = min(_THREADS, channels // vector)
    return kernel(index, name, _SOURCES, macros), vector, across, _THREADS // across


def _divisor(tensors: Sequence[Tensor], numbers: Sequence[int]) -> int:
    bits = 16
    size = tensors[0].element_size()
    for tensor in tensors:
        bits |= tensor.data_ptr() // size
    for number in numbers:
        bits |= number
    return bits & -bits


def _pack(
    x: Tensor,
    factors: Sequence[Tensor],
    grads: Sequence[Tensor],
    out: Sequence[Tensor],
    partial: int,
    numbers: Sequence[int],
) -> bytes:
    pointers = [x.data_ptr()]
    for tensors in (factors, grads, out):
        pointers += [tensor.data_ptr() for tensor in tensors]
        pointers += [0] * (MOST - len(tensors))
    return _ARGUMENTS.pack(*pointers, partial, *numbers)


def shift_mix_forward(
    x: Tensor,
    factors: Sequence[Tensor],
    height: int,
    width: int,
    bounds: Sequence[int],
    pixels: int,
    heads: int,
) -> list[Tensor]:
    """Shift tokens and mix them with the unshifted ones.

    Parameters
    ----------
    x : Tensor, shape (B, height * width, C)
        Tokens, contiguous: float32, float16 or bfloat16.
    factors : sequence of Tensor, shape (C,)
        Share of the token itself in each mixture, of `x`'s type; at most 6.
    height, width : int
        The grid.
    bounds : sequence of int
        Ends of the four quarters of a head's channels, which look left, right, up and
        down.
    pixels : int
        How far they look.
    heads : int
        Heads, each with its own quarters.

    Returns
    -------
    list of Tensor, shape of x
    """
    index = x.get_device()
    if index != torch.cuda.current_device():
        with torch.cuda.device(index):
            return shift_mix_forward(x, factors, height, width, bounds, pixels, heads)
    batch, tokens, channels = x.shape
    out = [torch.empty_like(x) for _ in factors]
    head = channels // heads
    divisor = _divisor([x, *factors, *out], [head, *bounds])
    function, vector, across, down = _launch(
        index, x.dtype, len(out), channels, divisor, "shift_mix"
    )
    numbers = (batch, height, width, channels, head, pixels, *bounds)
    blocks = min(-(-batch * tokens // (4 * down)), 1 << 20)
    function.launch(
        (blocks, -(-channels // (vector * across)), 1),
        (across, down),
        0,
        stream(index),
        _pack(x, factors, (), out, 0, numbers),
        index,
    )
    return out


def shift_mix_backward(
    grads: Sequence[Tensor],
    x: Tensor,
    factors: Sequence[Tensor],
    height: int,
    width: int,
    bounds: Sequence[int],
    pixels: int,
    heads: int,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of :func:`shift_mix_forward` by the tokens and the factors.

    Parameters
    ----------
    grads : sequence of Tensor, shape of x
        Gradients by the mixtures, contiguous, of `x`'s type.
    x, factors, height, width, bounds, pixels, heads
        As in the forward pass.

    Returns
    -------
    Tensor, shape of x
        Gradient by the tokens.
    list of Tensor, shape (C,), float32
        Gradients by the factors.
    """
    index = x.get_device()
    if index != torch.cuda.current_device():
        with torch.cuda.device(index):
            return shift_mix_backward(
                grads, x, factors, height, width, bounds, pixels, heads
            )
    batch, tokens, channels = x.shape
    gx = torch.empty_like(x)
    head = channels // heads
    divisor = _divisor([x, *factors, *grads, gx], [head, *bounds])
    function, vector, across, down = _launch(
        index, x.dtype, len(grads), channels, divisor, "shift_mix_backward"
    )
    blocks = min(-(-batch * tokens // (2 * down)), 4 * processors(index))
    mixes = len(grads)
    partial = torch.empty(
        (blocks, mixes * channels), dtype=torch.float32, device=x.device
    )
    sums = torch.empty((mixes, channels), dtype=torch.float32, device=x.device)
    numbers = (batch, height, width, channels, head, pixels, *bounds)
    function.launch(
        (blocks, -(-channels // (vector * across)), 1),
        (across, down),
        0,
        stream(index),
        _pack(x, factors, grads, [gx], partial.data_ptr(), numbers),
        index,
    )
    sum_rows(index, partial.data_ptr(), sums.data_ptr(), blocks, mixes * channels)
    return gx, list(sums.unbind())
