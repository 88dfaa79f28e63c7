"""Launches the WKV6 kernels."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import torch

from ._cuda_bi_wkv import sum_rows
from ._cuda_launch import kernel, processors, stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["wkv6_backward", "wkv6_forward"]

HEAD = 64
"""Channels of a head."""
_ARGUMENTS = struct.Struct("18Q5i")
_FIELDS = (
    "r", "k", "v", "w", "u", "g", "y", "states", "other", "decays", "before", "after",
    "kbefore", "kafter", "gr", "gk", "gw", "partial",
)  # fmt: skip
_LENGTHS = (128, 64, 32, 16)


class _Sweeps:
    """The kernels' launches for one problem, with its working memory."""

    def __init__(self, w: Tensor, u: Tensor) -> None:
        self.index = w.get_device()
        self.batch, self.tokens, self.channels = w.shape
        self.heads = u.shape[0]
        many = self.batch * self.heads
        busy = 4 * processors(self.index)
        self.length = next(
            (n for n in _LENGTHS if many * -(-self.tokens // n) >= busy), _LENGTHS[-1]
        )
        self.chunks = -(-self.tokens // self.length)
        self.many = many
        self.device = w.device
        self.fields: dict[str, Tensor] = {
            "w": w,
            "u": u,
            "decays": self.floats(many, self.chunks, HEAD),
        }

    def floats(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=self.device)

    def launch(
        self, name: str, blocks: int, directions: int, threads: int, **fields: Tensor
    ) -> None:
        known = {**self.fields, **fields}
        pointers = [known[f].data_ptr() if f in known else 0 for f in _FIELDS]
        kernel(self.index, name, ("wkv6.cu",)).launch(
            (blocks, self.many, directions),
            threads,
            0,
            stream(self.index),
            _ARGUMENTS.pack(
                *pointers,
                self.batch,
                self.tokens,
                self.heads,
                self.chunks,
                self.length,
            ),
            self.index,
        )

    def states(self, k: Tensor, v: Tensor) -> Tensor:
        """States before (0) and behind (1) every chunk."""
        states = self.floats(2, self.many, self.chunks, HEAD, HEAD)
        self.launch("wkv6_states", self.chunks, 2, HEAD, k=k, v=v, states=states)
        self.launch("wkv6_scan", HEAD * HEAD // 256, 2, 256, states=states)
        return states

    def columns(self, r: Tensor, k: Tensor, v: Tensor, states: Tensor) -> Tensor:
        """Read the states of (k, v) by r: the operator itself."""
        y = torch.empty_like(r)
        self.launch(
            "wkv6_columns", self.chunks, 1, HEAD, r=r, k=k, v=v, states=states, y=y
        )
        return y

    def rows(
        self, k: Tensor, v: Tensor, g: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Row sums of the states of (k, v), weighted by g, on both sides."""
        before, after = torch.empty_like(k), torch.empty_like(k)
        self.launch(
            "wkv6_rows",
            self.chunks,
            2,
            HEAD,
            k=k,
            v=v,
            g=g,
            states=states,
            before=before,
            after=after,
        )
        return before, after


def wkv6_forward(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """WKV6 of contiguous float32 CUDA tensors.

    Parameters
    ----------
    r, k, v, w : Tensor, shape (B, T, H * 64)
        Receptance, keys, values, and the decay's exponent: a token decays by
        ``exp(-exp(w))``.
    u : Tensor, shape (H, 64)
        Bonus of the token itself.

    Returns
    -------
    Tensor, shape (B, T, H * 64)
    """
    if r.get_device() != torch.cuda.current_device():
        with torch.cuda.device(r.get_device()):
            return wkv6_forward(r, k, v, w, u)
    sweeps = _Sweeps(w, u)
    return sweeps.columns(r, k, v, sweeps.states(k, v))


def wkv6_backward(
    grad: Tensor, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`wkv6_forward` by r, k, v, w and u.

    Parameters
    ----------
    grad : Tensor, shape (B, T, H * 64)
        Gradient by the output.
    r, k, v, w, u : Tensor
        As in the forward pass.

    Returns
    -------
    tuple of Tensor
    """
    if r.get_device() != torch.cuda.current_device():
        with torch.cuda.device(r.get_device()):
            return wkv6_backward(grad, r, k, v, w, u)
    sweeps = _Sweeps(w, u)
    states = sweeps.states(k, v)
    before, after = sweeps.rows(k, v, grad, states)
    other = sweeps.states(r, grad)
    kbefore, kafter = sweeps.rows(r, grad, v, other)
    gv = sweeps.columns(k, r, grad, other)
    gr, gk, gw = torch.empty_like(r), torch.empty_like(k), torch.empty_like(w)
    rows = sweeps.batch * sweeps.chunks
    partial, gu = sweeps.floats(rows, sweeps.channels), torch.empty_like(u)
    sweeps.launch(
        "wkv6_finish",
        sweeps.chunks,
        1,
        HEAD,
        r=r,
        k=k,
        v=v,
        g=grad,
        states=states,
        other=other,
        before=before,
        after=after,
        kbefore=kbefore,
        kafter=kafter,
        gr=gr,
        gk=gk,
        gw=gw,
        partial=partial,
    )
    sum_rows(sweeps.index, partial.data_ptr(), gu.data_ptr(), rows, sweeps.channels)
    return gr, gk, gv, gw, gu
