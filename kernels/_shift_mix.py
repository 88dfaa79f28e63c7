"""The torch operators `medurwkv::q_shift` and `medurwkv::shift_mix`."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from . import _cuda, _dispatch, _native
from . import _shift_mix_portable as _portable
from ._operator import LIBRARY

__all__ = ["Grid", "q_shift", "shift_mix"]

Grid = tuple[int, int]
"""Height and width of a token grid, in tokens."""

_GPU: Any = _cuda  # may come without this operator
_MOST = 8  # mixes at once in the compiled kernels
_GRID = "int height, int width, float gamma, int pixels, int heads"
LIBRARY.define(f"q_shift(Tensor x, {_GRID}) -> Tensor")
LIBRARY.define(f"shift_mix(Tensor x, Tensor[] factors, {_GRID}) -> Tensor[]")
LIBRARY.define(
    f"shift_mix_backward(Tensor[] grads, Tensor x, Tensor[] factors, {_GRID})"
    " -> (Tensor, Tensor[])"
)


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

    Raises
    ------
    ValueError
        If the grid or the heads do not fit the tokens.
    """
    _check(x, grid, gamma, heads)
    shifted: Tensor = torch.ops.medurwkv.q_shift(x, *grid, gamma, pixels, heads)
    return shifted


def shift_mix(
    x: Tensor,
    grid: Grid,
    factors: tuple[Tensor, ...],
    gamma: float = 0.25,
    pixels: int = 1,
    heads: int = 1,
) -> tuple[Tensor, ...]:
    """Mix tokens with their shifted neighbours, once for each factor.

    Shift and mixes are one operator: the tokens are read once and each mix is written
    once. Its gradient cannot itself be differentiated.

    Parameters
    ----------
    x : Tensor
        Tokens in row-major order, (B, H * W, C).
    grid : tuple of int
        (H, W), in tokens.
    factors : tuple of Tensor
        Share of the token itself, C values each, of any shape.
    gamma, pixels, heads
        As in `q_shift`.

    Returns
    -------
    tuple of Tensor
        ``x * factor + q_shift(x) * (1 - factor)``, (B, H * W, C), for each factor.

    Raises
    ------
    ValueError
        If the grid, the heads or a factor do not fit the tokens.
    """
    _check(x, grid, gamma, heads)
    for factor in factors:
        if factor.numel() != x.shape[2]:
            raise ValueError(
                f"shift_mix: a factor must hold {x.shape[2]} values, one per channel,"
                f" not {factor.numel()}."
            )
    own = [factor.to(x.dtype) for factor in factors]
    return tuple(torch.ops.medurwkv.shift_mix(x, own, *grid, gamma, pixels, heads))


def _check(x: Tensor, grid: Grid, gamma: float, heads: int) -> None:
    if x.ndim != 3 or grid[0] * grid[1] != x.shape[1]:
        raise ValueError(
            f"q_shift: tokens of shape (B, {grid[0]} * {grid[1]}, C) are expected for"
            f" the grid {tuple(grid)}, not {tuple(x.shape)}."
        )
    if heads < 1 or x.shape[2] % heads:
        raise ValueError(f"q_shift: {x.shape[2]} channels are not {heads} equal heads.")
    if not 0 <= gamma <= 0.25:
        raise ValueError(f"q_shift: gamma must lie between 0 and 1/4, not {gamma}.")


def _path(x: Tensor, mixes: int) -> str:
    """Name the path of these tensors: that of bi_wkv, where it has the operator."""
    name = _dispatch.backend_for(x.device, x.dtype).name
    if name == "native" and x.dtype == torch.float32 and mixes <= _MOST:
        return name
    if name == "cuda" and mixes and hasattr(_GPU, "shift_mix_forward"):
        return name
    return "portable"


@functools.lru_cache(maxsize=256)
def _sizes(
    shape: tuple[int, ...],
    height: int,
    width: int,
    gamma: float,
    pixels: int,
    heads: int,
) -> ctypes.Array[ctypes.c_int64]:
    channels = shape[2] // heads
    ends = _portable.bounds(channels, gamma)
    values = (shape[0], height, width, heads, channels, *ends, pixels)
    return (ctypes.c_int64 * 10)(*values)


def _pointers(tensors: list[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(x.data_ptr() for x in tensors))


def _call(name: str, sizes: ctypes.Array[ctypes.c_int64], *arguments: Any) -> None:
    native = _native.load()
    if isinstance(native, str):
        raise RuntimeError(f"shift_mix: {native}.")
    getattr(native.library, name)(
        native.level, torch.get_num_threads(), sizes, *arguments
    )


def _shift(
    x: Tensor, height: int, width: int, gamma: float, pixels: int, heads: int
) -> Tensor:
    if x.numel() == 0 or _path(x, 0) == "portable":
        return _portable.shift(x, height, width, gamma, pixels, heads)
    x = x.contiguous()
    out = torch.empty_like(x)
    _call(
        "medurwkv_shift_mix_forward",
        _sizes(tuple(x.shape), height, width, gamma, pixels, heads),
        1,
        ctypes.c_void_p(x.data_ptr()),
        (ctypes.c_void_p * 1)(None),
        _pointers([out]),
    )
    return out


def _mix(
    x: Tensor,
    factors: list[Tensor],
    height: int,
    width: int,
    gamma: float,
    pixels: int,
    heads: int,
) -> list[Tensor]:
    path = "portable" if x.numel() == 0 else _path(x, len(factors))
    if path == "portable":
        return _portable.mix(x, factors, height, width, gamma, pixels, heads)
    x = x.contiguous()
    factors = [factor.contiguous() for factor in factors]
    if path == "cuda":
        ends = _portable.bounds(x.shape[2] // heads, gamma)
        mixed: list[Tensor] = _GPU.shift_mix_forward(
            x, factors, height, width, ends, pixels, heads
        )
        return mixed
    out = [torch.empty_like(x) for _ in factors]
    _call(
        "medurwkv_shift_mix_forward",
        _sizes(tuple(x.shape), height, width, gamma, pixels, heads),
        len(factors),
        ctypes.c_void_p(x.data_ptr()),
        _pointers(factors),
        _pointers(out),
    )
    return out


def _mix_backward(
    grads: list[Tensor],
    x: Tensor,
    factors: list[Tensor],
    height: int,
    width: int,
    gamma: float,
    pixels: int,
    heads: int,
) -> tuple[Tensor, list[Tensor]]:
    path = "portable" if x.numel() == 0 else _path(x, len(factors))
    if path == "portable":
        return _portable.mix_backward(
            grads, x, factors, height, width, gamma, pixels, heads
        )
    x = x.contiguous()
    grads = [grad.contiguous() for grad in grads]
    factors = [factor.contiguous() for factor in factors]
    if path == "cuda":
        ends = _portable.bounds(x.shape[2] // heads, gamma)
        gx, by_factor = _GPU.shift_mix_backward(
            grads, x, factors, height, width, ends, pixels, heads
        )
    else:
        gx = torch.empty_like(x)
        pieces = min(x.shape[0] * height, _most_pieces())
        sums = torch.zeros((len(factors), pieces, x.shape[2]), dtype=torch.float64)
        _call(
            "medurwkv_shift_mix_backward",
            _sizes(tuple(x.shape), height, width, gamma, pixels, heads),
            len(factors),
            ctypes.c_void_p(x.data_ptr()),
            _pointers(factors),
            _pointers(grads),
            ctypes.c_void_p(gx.data_ptr()),
            ctypes.c_void_p(sums.data_ptr()),
        )
        by_factor = list(sums.sum(1))
    return gx, [
        g.to(factor.dtype).view_as(factor)
        for g, factor in zip(by_factor, factors, strict=True)
    ]


@functools.cache
def _most_pieces() -> int:
    """Return into how many pieces the compiled kernel cuts a large sum at most."""
    native = _native.load()
    if isinstance(native, str):
        raise RuntimeError(f"shift_mix: {native}.")
    return int(native.library.medurwkv_shift_mix_pieces(ctypes.c_int64(1 << 40)))


def _fake_shift(x: Tensor, *grid: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _fake_mix(x: Tensor, factors: list[Tensor], *grid: float) -> list[Tensor]:
    return [_fake_shift(x) for _ in factors]


def _fake_mix_backward(
    grads: list[Tensor], x: Tensor, factors: list[Tensor], *grid: float
) -> tuple[Tensor, list[Tensor]]:
    return _fake_shift(x), [_fake_shift(factor) for factor in factors]


def _keep_grid(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.grid = inputs[1:]


def _shift_back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    height, width, gamma, pixels, heads = ctx.grid
    back = torch.ops.medurwkv.q_shift(grad, height, width, gamma, -pixels, heads)
    return back, None, None, None, None, None


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, factors, *ctx.grid = inputs
    ctx.save_for_backward(x, *factors)


def _differentiate(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    x, *factors = ctx.saved_tensors
    gx, by_factor = torch.ops.medurwkv.shift_mix_backward(grads, x, factors, *ctx.grid)
    return gx, by_factor, None, None, None, None, None


def _refuse(ctx: Any, *grads: Any) -> None:
    raise RuntimeError(
        "shift_mix cannot be differentiated twice: its gradient has no gradient of its"
        " own; call backward without create_graph."
    )


LIBRARY.impl("q_shift", _shift, "CompositeExplicitAutograd")
LIBRARY.impl("shift_mix", _mix, "CompositeExplicitAutograd")
LIBRARY.impl("shift_mix_backward", _mix_backward, "CompositeExplicitAutograd")
for _name, _fake in (
    ("q_shift", _fake_shift),
    ("shift_mix", _fake_mix),
    ("shift_mix_backward", _fake_mix_backward),
):
    LIBRARY.impl(_name, _fake, "Meta")
torch.library.register_autograd(
    "medurwkv::q_shift", _shift_back, setup_context=_keep_grid, lib=LIBRARY
)
torch.library.register_autograd(
    "medurwkv::shift_mix", _differentiate, setup_context=_keep, lib=LIBRARY
)
torch.library.register_autograd("medurwkv::shift_mix_backward", _refuse, lib=LIBRARY)
