"""The torch operator `medurwkv::wkv6`: checks, paths, shapes, gradient."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from . import _cuda, _dispatch, _native, _wkv6_portable
from ._operator import LIBRARY

__all__ = ["wkv6"]

_GPU: Any = _cuda  # may come without this operator
_COLUMNS = 32  # that the native kernel takes at a time
_CUDA_SIZE = 64  # channels of a head that the CUDA kernel is written for

LIBRARY.define("wkv6(Tensor r, Tensor k, Tensor v, Tensor w, Tensor u) -> Tensor")
LIBRARY.define(
    "wkv6_backward(Tensor grad, Tensor r, Tensor k, Tensor v, Tensor w, Tensor u)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def wkv6(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    r"""Bidirectional WKV6 attention with decays that depend on the data.

    Each head keeps a state, a matrix of keys by values. With
    :math:`d_t = e^{-e^{w_t}}` the forward sweep is

    .. math::
        y_t = r_t\,(S + \mathrm{diag}(u\,k_t)\,\mathbf{1}v_t^T),\quad
        S \leftarrow \mathrm{diag}(d_t)\,S + k_t v_t^T

    and a backward sweep, without the bonus `u`, is added to it. Decays lie between 0
    and 1 and are only ever multiplied, so no length and no `w` can overflow. The
    gradient cannot itself be differentiated.

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

    Raises
    ------
    ValueError
        If shapes do not belong together.

    References
    ----------
    Peng et al., "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic
    Recurrence", COLM 2024, section 4; made bidirectional as in Vision-RWKV.
    """
    heads, size = u.shape
    if not (k.ndim == 3 and heads * size == k.shape[2]) or not (
        r.shape == k.shape == v.shape == w.shape
    ):
        raise ValueError(
            f"wkv6: r, k, v and w must have one shape (B, T, {heads * size}), not "
            f"{tuple(r.shape)}, {tuple(k.shape)}, {tuple(v.shape)} and "
            f"{tuple(w.shape)}."
        )
    wide = torch.promote_types(k.dtype, torch.float32)
    y: Tensor = torch.ops.medurwkv.wkv6(*(x.to(wide) for x in (r, k, v, w, u)))
    return y.to(k.dtype)


def _path(k: Tensor, u: Tensor) -> str:
    """Name the path of these tensors: that of bi_wkv, if it knows such heads."""
    name = _dispatch.backend_for(k.device, k.dtype).name
    size = u.shape[1]
    if name == "native" and k.dtype == torch.float32 and size % _COLUMNS == 0:
        return name
    if name == "cuda" and size == _CUDA_SIZE and hasattr(_GPU, "wkv6_forward"):
        return name
    return "portable"


def _compute(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    if k.numel() == 0:
        return torch.empty_like(k, memory_format=torch.contiguous_format)
    r, k, v, w, u = (x.contiguous() for x in (r, k, v, w, u))
    path = _path(k, u)
    if path == "cuda":
        y: Tensor = _GPU.wkv6_forward(r, k, v, w, u)
        return y
    if path == "native":
        y = _native_sweeps(r, k, v, _decay(w), u)
        return y.addcmul_(_spread(r, k, u), v)
    return _wkv6_portable.forward(r, k, v, w, u).contiguous()


def _compute_backward(
    grad: Tensor, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if k.numel() == 0:
        return r.clone(), k.clone(), v.clone(), w.clone(), torch.zeros_like(u)
    grad, r, k, v, w, u = (x.contiguous() for x in (grad, r, k, v, w, u))
    path = _path(k, u)
    if path == "cuda" and hasattr(_GPU, "wkv6_backward"):
        found: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = _GPU.wkv6_backward(
            grad, r, k, v, w, u
        )
        return found
    if path == "native":
        return _native_backward(grad, r, k, v, w, u)
    gr, gk, gv, gw, gu = _wkv6_portable.backward(grad, r, k, v, w, u)
    return gr.contiguous(), gk.contiguous(), gv.contiguous(), gw.contiguous(), gu


def _decay(w: Tensor) -> Tensor:
    return torch.exp(w).neg_().exp_()


def _spread(r: Tensor, k: Tensor, u: Tensor) -> Tensor:
    """Weight of each token's own value, for each channel of its head."""
    heads = (*k.shape[:2], *u.shape)
    own = torch.einsum("bthn,bthn,hn->bth", r.view(heads), k.view(heads), u)
    return own.repeat_interleave(u.shape[1], 2)


def _native_sweeps(r: Tensor, k: Tensor, v: Tensor, d: Tensor, u: Tensor) -> Tensor:
    y = torch.empty_like(k)
    _call("medurwkv_wkv6_forward", u, (r, k, v, d, y))
    return y


def _native_backward(
    grad: Tensor, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    d = _decay(w)
    gr, gk, gd = (torch.empty_like(k) for _ in range(3))
    _call("medurwkv_wkv6_backward", u, (grad, r, k, v, d, gr, gk, gd))
    # Backwards in time, key and receptance change places.
    gv = _native_sweeps(k, r, grad, d, u)
    heads = (*k.shape[:2], *u.shape)
    seen = (grad * v).view(heads).sum(-1)
    gu = torch.einsum("bthn,bthn,bth->hn", r.view(heads), k.view(heads), seen)
    seen = seen.repeat_interleave(u.shape[1], 2)
    bonus = u.flatten()
    gr += bonus * k * seen
    gk += bonus * r * seen
    gv += _spread(r, k, u) * grad
    # Beyond e^5 the decay is zero and stays so.
    gw = gd.mul_(d).mul_(w.clamp(max=5.0).exp_()).neg_()
    return gr, gk, gv, gw, gu


def _call(name: str, u: Tensor, arrays: tuple[Tensor, ...]) -> None:
    native = _native.load()
    if isinstance(native, str):
        raise RuntimeError(f"wkv6: {native}.")
    batch, tokens, _ = arrays[0].shape
    heads, size = u.shape
    status = getattr(native.library, name)(
        ctypes.c_int(native.level),
        ctypes.c_int(torch.get_num_threads()),
        ctypes.c_int64(batch),
        ctypes.c_int64(tokens),
        ctypes.c_int64(heads),
        ctypes.c_int(size),
        *(ctypes.c_void_p(x.data_ptr()) for x in arrays),
    )
    if status:
        raise MemoryError("wkv6: no room for the kernel's working memory.")


def _fake(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    return torch.empty_like(k, memory_format=torch.contiguous_format)


def _fake_backward(
    grad: Tensor, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor
) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(x, memory_format=torch.contiguous_format)
        for x in (r, k, v, w, u)
    )


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, ...] = torch.ops.medurwkv.wkv6_backward(
        grad, *ctx.saved_tensors
    )
    return gradients


def _refuse(ctx: Any, *grads: Tensor) -> None:
    raise RuntimeError(
        "wkv6 cannot be differentiated twice: its gradient has no gradient of its own;"
        " call backward without create_graph."
    )


LIBRARY.impl("wkv6", _compute, "CompositeExplicitAutograd")
LIBRARY.impl("wkv6_backward", _compute_backward, "CompositeExplicitAutograd")
LIBRARY.impl("wkv6", _fake, "Meta")
LIBRARY.impl("wkv6_backward", _fake_backward, "Meta")
torch.library.register_autograd(
    "medurwkv::wkv6", _differentiate, setup_context=_keep, lib=LIBRARY
)
torch.library.register_autograd("medurwkv::wkv6_backward", _refuse, lib=LIBRARY)
