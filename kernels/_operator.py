"""The torch operator `medurwkv::bi_wkv`: checks, shapes, gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _dispatch, _portable

__all__ = ["LIBRARY", "bi_wkv"]

# torch leaves this class without types.
_HALVES = (torch.float16, torch.bfloat16)
LIBRARY: Any = torch.library.Library("medurwkv", "DEF")  # type: ignore[no-untyped-call]
LIBRARY.define(
    "bi_wkv(Tensor w, Tensor u, Tensor k, Tensor v, int segments=0) -> Tensor"
)
LIBRARY.define(
    "bi_wkv_backward(Tensor grad, Tensor w, Tensor u, Tensor k, Tensor v, Tensor y,"
    " int segments=0) -> (Tensor, Tensor, Tensor, Tensor)"
)


def bi_wkv(w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0) -> Tensor:
    r"""Bidirectional weighted key-value attention of Vision-RWKV.

    For every sequence and channel, with t and i running over T tokens,

    .. math::
        y_t = \frac{\sum_{i\ne t} e^{k_i-(|t-i|-1)w}\,v_i + e^{u+k_t}\,v_t}
                   {\sum_{i\ne t} e^{k_i-(|t-i|-1)w} + e^{u+k_t}}

    Half precisions are accumulated in float32 and rounded once, at the end; autocast
    changes nothing here, so keys and values come in whatever type the layers before
    gave them. The gradient exists for all four arguments, once: it cannot itself be
    differentiated. Keys and values that are not contiguous are copied.

    Parameters
    ----------
    w : Tensor, shape (C,)
        Decay per token, of any sign: the layer's weight divided by T.
    u : Tensor, shape (C,)
        Bonus of the token itself: the layer's weight divided by T.
    k, v : Tensor, shape (B, T, C)
        Keys and values, T at least 1.
    segments : int, optional
        0 is the definition above. 16, 32 or 64 is what the published kernels compute
        with so many segments: everything but a token's past in its own segment is
        one step further away, and the segment's own tokens get an additional term.
        Weights that were trained with those kernels want their number.

    Returns
    -------
    Tensor, shape (B, T, C), dtype of `k`

    Raises
    ------
    ValueError
        If shapes or devices do not belong together, or `segments` is negative.
    TypeError
        If an argument is not a floating point tensor.

    References
    ----------
    Duan et al., "Vision-RWKV: Efficient and Scalable Visual Perception with
    RWKV-Like Architectures", ICLR 2025, equation 4.
    """
    _check(w, u, k, v)
    if segments < 0:
        raise ValueError(f"bi_wkv: segments must be 0 or more, not {segments}.")
    common = torch.promote_types(k.dtype, v.dtype)
    wide = torch.promote_types(common, torch.float32)
    y: Tensor = torch.ops.medurwkv.bi_wkv(
        w.to(wide), u.to(wide), k.to(common), v.to(common), segments
    )
    return y.to(k.dtype)


def _check(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> None:
    for name, x in (("w", w), ("u", u), ("k", k), ("v", v)):
        if not isinstance(x, Tensor):
            raise TypeError(f"bi_wkv: {name} must be a tensor, not {type(x).__name__}.")
        if not x.dtype.is_floating_point:
            raise TypeError(
                f"bi_wkv: {name} must hold floating point numbers, not {x.dtype}."
            )
        if x.device != k.device:
            raise ValueError(
                f"bi_wkv: {name} is on {x.device} but k is on {k.device};"
                " move them to one device."
            )
    if k.ndim != 3:
        raise ValueError(
            f"bi_wkv: k must have shape (batch, tokens, channels), not"
            f" {tuple(k.shape)}."
        )
    if v.shape != k.shape:
        raise ValueError(
            f"bi_wkv: k and v must have one shape, not {tuple(k.shape)} and"
            f" {tuple(v.shape)}."
        )
    if k.shape[1] == 0:
        raise ValueError("bi_wkv: the sequence holds no tokens.")
    for name, x in (("w", w), ("u", u)):
        if x.shape != k.shape[2:]:
            raise ValueError(
                f"bi_wkv: {name} must have shape ({k.shape[2]},), one value per"
                f" channel of k, not {tuple(x.shape)}."
            )


def _compute(w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0) -> Tensor:
    if k.numel() == 0:
        return torch.empty_like(k, memory_format=torch.contiguous_format)
    implementation = _dispatch.implementation_for(k.device, k.dtype)
    w, u, k, v = (x.contiguous() for x in (w, u, k, v))
    if k.dtype in _HALVES and not implementation.TAKES_HALVES:
        return implementation.forward(w, u, k.float(), v.float(), segments).to(k.dtype)
    return implementation.forward(w, u, k, v, segments)


def _compute_backward(
    grad: Tensor,
    w: Tensor,
    u: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    segments: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if k.numel() == 0:
        return torch.zeros_like(w), torch.zeros_like(u), k.clone(), v.clone()
    implementation = _dispatch.implementation_for(k.device, k.dtype)
    if segments and not implementation.DIFFERENTIATES_SEGMENTS:
        implementation = _portable
    dtype = k.dtype
    grad, w, u, k, v, y = (x.contiguous() for x in (grad, w, u, k, v, y))
    if dtype not in _HALVES or implementation.TAKES_HALVES:
        return implementation.backward(grad, w, u, k, v, y, segments)
    # The output was rounded; its error would be multiplied by large factors.
    grad, k, v = grad.float(), k.float(), v.float()
    y = implementation.forward(w, u, k, v, segments)
    gw, gu, gk, gv = implementation.backward(grad, w, u, k, v, y, segments)
    return gw, gu, gk.to(dtype), gv.to(dtype)


def _fake(w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0) -> Tensor:
    return torch.empty_like(k, memory_format=torch.contiguous_format)


def _fake_backward(
    grad: Tensor,
    w: Tensor,
    u: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    segments: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(w, memory_format=torch.contiguous_format),
        torch.empty_like(u, memory_format=torch.contiguous_format),
        torch.empty_like(k, memory_format=torch.contiguous_format),
        torch.empty_like(v, memory_format=torch.contiguous_format),
    )


def _keep(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, int], output: Tensor
) -> None:
    *tensors, ctx.segments = inputs
    ctx.save_for_backward(*tensors, output)


def _differentiate(
    ctx: Any, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
    gw, gu, gk, gv = torch.ops.medurwkv.bi_wkv_backward(
        grad, *ctx.saved_tensors, ctx.segments
    )
    return gw, gu, gk, gv, None


def _refuse(ctx: Any, *grads: Tensor) -> None:
    raise RuntimeError(
        "bi_wkv cannot be differentiated twice: its gradient has no gradient of its"
        " own; call backward without create_graph."
    )


LIBRARY.impl("bi_wkv", _compute, "CompositeExplicitAutograd")
LIBRARY.impl("bi_wkv_backward", _compute_backward, "CompositeExplicitAutograd")
LIBRARY.impl("bi_wkv", _fake, "Meta")
LIBRARY.impl("bi_wkv_backward", _fake_backward, "Meta")
torch.library.register_autograd(
    "medurwkv::bi_wkv", _differentiate, setup_context=_keep, lib=LIBRARY
)
torch.library.register_autograd("medurwkv::bi_wkv_backward", _refuse, lib=LIBRARY)
