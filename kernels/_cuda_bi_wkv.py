"""Launches the Bi-WKV kernels on torch's tensors and streams."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ._cuda_launch import copies_ahead, kernel, limits, stream
from ._cuda_plan import LONGEST, Plan, plan_backward, plan_forward, plan_stream
from ._cuda_stream import StreamJob, stream_job

if TYPE_CHECKING:
    from torch import Tensor

    from ._cuda_driver import Kernel

__all__ = ["ELEMENTS", "Job", "backward", "backward_job", "forward", "forward_job"]

ELEMENTS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
"""Element types by the kernels' numbers."""
_COMMON = (
    "cuda_elements.cuh",
    "cuda_tile.cuh",
    "bi_wkv_sums.cuh",
    "bi_wkv_tile.cuh",
    "bi_wkv_steep.cuh",
)
_FORWARD = (*_COMMON, "bi_wkv_forward.cuh", "bi_wkv.cu")
_BACKWARD = (
    *_COMMON,
    "bi_wkv_steep_backward.cuh",
    "bi_wkv_forward.cuh",
    "bi_wkv_backward.cu",
)
_ARGUMENTS = struct.Struct("10Q4i")
_REDUCTION = struct.Struct("2Q2i")


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Launches that compute one problem, ready but for the tensors.

    Attributes
    ----------
    plan : Plan
        How the problem is cut.
    launches : tuple of (Kernel, int)
        Kernels in order, each with its dynamic shared memory in bytes.
    grid : tuple of int
        Blocks of each.
    sums : int
        Floats of working memory for the sums of parts of a sequence.
    rows : int
        Blocks that contribute to the gradients of w and u.
    segment : int
        Tokens of a segment of the published variant; 0 for the definition.
    index : int
        The device.
    """

    plan: Plan
    launches: tuple[tuple[Kernel, int], ...]
    grid: tuple[int, int, int]
    sums: int
    rows: int
    segment: int
    index: int

    def run(self, arguments: bytes) -> None:
        """Launch on torch's current stream."""
        handle = stream(self.index)
        for function, shared in self.launches:
            function.launch(
                self.grid, self.plan.threads, shared, handle, arguments, self.index
            )


def forward_job(
    plan: Plan,
    index: int,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    aligned: bool,
    segments: int = 0,
) -> Job:
    """Compile and load what a forward pass takes.

    Parameters
    ----------
    plan : Plan
        How to cut it.
    index : int
        The device.
    shape : tuple of int
        Shape of `k`.
    dtype : torch.dtype
        Type of `k`.
    aligned : bool
        Rows of all tensors can be copied 16 bytes at a time.
    segments : int, optional
        Segments of the published variant.

    Returns
    -------
    Job
    """
    element = ELEMENTS[dtype]
    shared = plan.staged(element)
    launches = tuple(
        (
            kernel(
                index,
                "bi_wkv",
                _FORWARD,
                plan.constants(mode, element, aligned, segments > 0),
                shared,
            ),
            shared,
        )
        for mode in ((0,) if plan.splits == 1 else (1, 2))
    )
    batch, tokens, channels = shape
    slots = 10 if segments else 6
    sums = batch * plan.splits * slots * channels if plan.splits > 1 else 0
    segment = -(-tokens // segments) if segments else 0
    return Job(plan, launches, plan.grid(batch, channels), sums, 0, segment, index)


def backward_job(
    plan: Plan,
    index: int,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    aligned: bool,
) -> Job:
    """Compile and load what a backward pass takes; see :func:`forward_job`."""
    element = ELEMENTS[dtype]
    shared = plan.staged(element, True)
    function = kernel(
        index,
        "bi_wkv_backward",
        _BACKWARD,
        plan.constants(0, element, aligned, False, True),
        shared,
    )
    batch, _, channels = shape
    grid, rows = plan.grid(batch, channels), batch * plan.cluster
    return Job(plan, ((function, shared),), grid, 0, rows, 0, index)


@functools.lru_cache(maxsize=4096)
def _job(
    index: int,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    alignment: int,
    segments: int,
    backward: bool,
) -> Job | StreamJob:
    batch, tokens, channels = shape
    size = dtype.itemsize
    aligned = (alignment | channels * size) % 16 == 0 and copies_ahead(index)
    pairs = size == 2 and channels % 2 == 0 and alignment % 4 == 0
    bounds = limits(index)
    if segments:
        # Its larger sums would not fit beside each other in the largest clusters.
        bounds = replace(bounds, cluster=min(8, bounds.cluster))
    plan = (plan_backward if backward else plan_forward)(
        batch, tokens, channels, pairs, bounds
    )
    if not segments and (plan.splits > 1 or tokens > LONGEST[backward, pairs]):
        cut = plan_stream(backward, dtype != torch.float32)
        return stream_job(cut, index, shape, ELEMENTS[dtype], backward=backward)
    if backward:
        return backward_job(plan, index, shape, dtype, aligned)
    return forward_job(plan, index, shape, dtype, aligned, segments)


def forward(w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0) -> Tensor:
    """Bi-WKV of contiguous CUDA tensors.

    Parameters
    ----------
    w, u : Tensor, shape (C,), float32
        Decay per token and bonus of the token itself.
    k, v : Tensor, shape (B, T, C)
        Keys and values, of one type: float32, float16 or bfloat16.
    segments : int, optional
        Segments of the published kernels' variant; 0 for the definition.

    Returns
    -------
    Tensor, shape (B, T, C), dtype of `k`
    """
    index = k.get_device()
    if index != torch.cuda.current_device():
        with torch.cuda.device(index):
            return forward(w, u, k, v, segments)
    y = torch.empty_like(k)
    alignment = (k.data_ptr() | v.data_ptr() | y.data_ptr()) & 15
    run_forward(
        _job(index, k.shape, k.dtype, alignment, segments, False), w, u, k, v, y
    )
    return y


def backward(
    grad: Tensor,
    w: Tensor,
    u: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    segments: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`forward` by w, u, k and v.

    Parameters
    ----------
    grad, k, v, y : Tensor, shape (B, T, C)
        Gradient by the output, keys, values and the output, of one type. The output
        is not read: it is recomputed without rounding.
    w, u : Tensor, shape (C,), float32
        Decay per token and bonus of the token itself.
    segments : int, optional
        Segments of the published kernels' variant; 0 for the definition.

    Returns
    -------
    tuple of Tensor

    Raises
    ------
    NotImplementedError
        If `segments` is not 0.
    """
    if segments:
        raise NotImplementedError("the CUDA kernels differentiate the definition only")
    index = k.get_device()
    if index != torch.cuda.current_device():
        with torch.cuda.device(index):
            return backward(grad, w, u, k, v, y, segments)
    gk, gv = torch.empty_like(k), torch.empty_like(v)
    tensors = (grad, k, v, gk, gv)
    alignment = 0
    for tensor in tensors:
        alignment |= tensor.data_ptr() & 15
    job = _job(index, k.shape, k.dtype, alignment, 0, True)
    gw, gu = run_backward(job, grad, w, u, k, v, gk, gv)
    return gw, gu, gk, gv


def run_forward(
    job: Job | StreamJob, w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor
) -> None:
    """Do a forward job, into `y`."""
    if isinstance(job, StreamJob):
        job.forward(w, u, k, v, y)
        return
    sums = 0
    if job.sums:
        # Freed at once, reused only behind this work on the same stream.
        sums = torch.empty(job.sums, dtype=torch.float32, device=k.device).data_ptr()
    _, tokens, channels = k.shape
    job.run(
        _ARGUMENTS.pack(
            w.data_ptr(),
            u.data_ptr(),
            k.data_ptr(),
            v.data_ptr(),
            0,
            y.data_ptr(),
            0,
            0,
            sums,
            0,
            tokens,
            channels,
            job.plan.splits,
            job.segment,
        )
    )


def run_backward(
    job: Job | StreamJob,
    grad: Tensor,
    w: Tensor,
    u: Tensor,
    k: Tensor,
    v: Tensor,
    gk: Tensor,
    gv: Tensor,
) -> tuple[Tensor, Tensor]:
    """Do a backward job, into `gk` and `gv`; returns the gradients of w and u."""
    _, tokens, channels = k.shape
    gathered = torch.empty((2, channels), dtype=torch.float32, device=k.device)
    partial = torch.empty(
        (job.rows, 2 * channels), dtype=torch.float32, device=k.device
    )
    if isinstance(job, StreamJob):
        job.backward(grad, w, u, k, v, gk, gv, partial)
        _sum_partial(job.index, partial, gathered)
        return gathered[0], gathered[1]
    job.run(
        _ARGUMENTS.pack(
            w.data_ptr(),
            u.data_ptr(),
            k.data_ptr(),
            v.data_ptr(),
            grad.data_ptr(),
            0,
            gk.data_ptr(),
            gv.data_ptr(),
            0,
            partial.data_ptr(),
            tokens,
            channels,
            1,
            0,
        )
    )
    _sum_partial(job.index, partial, gathered)
    return gathered[0], gathered[1]


def _sum_partial(index: int, partial: Tensor, sums: Tensor) -> None:
    sum_rows(index, partial.data_ptr(), sums.data_ptr(), *partial.shape)


def sum_rows(index: int, matrix: int, sums: int, rows: int, columns: int) -> None:
    """Sum the rows of a float32 matrix, in a fixed order.

    Parameters
    ----------
    index : int
        The device.
    matrix, sums : int
        Addresses of the matrix (rows, columns) and of the sums.
    rows, columns : int
        The matrix' shape.
    """
    kernel(index, "reduce_rows", ("reduce.cu",)).launch(
        (-(-columns // 32), 1, 1),
        1024,
        0,
        stream(index),
        _REDUCTION.pack(matrix, sums, rows, columns),
        index,
    )
