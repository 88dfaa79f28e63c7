"""Bi-WKV on NVIDIA GPUs: kernels compiled at run time, launched on torch's stream."""

from __future__ import annotations

import functools
import struct

import torch
from torch import Tensor

from ._cuda_compile import CompilerError, machine_code
from ._cuda_driver import DriverError, Kernel, load_kernel
from ._cuda_plan import Plan, plan_backward, plan_forward

__all__ = [
    "DIFFERENTIATES_SEGMENTS",
    "TAKES_HALVES",
    "availability",
    "backward",
    "forward",
]

TAKES_HALVES = True
DIFFERENTIATES_SEGMENTS = False

_ELEMENTS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
_FORWARD = (
    "cuda_device.cuh",
    "bi_wkv_tile.cuh",
    "bi_wkv_steep.cuh",
    "bi_wkv_forward.cuh",
    "bi_wkv.cu",
)
_BACKWARD = (
    *_FORWARD[:3],
    "bi_wkv_steep_backward.cuh",
    "bi_wkv_forward.cuh",
    "bi_wkv_backward.cu",
)
_ARGUMENTS = struct.Struct("11Q4i")
_REDUCTION = struct.Struct("2Q2i")
_OLDEST = (7, 5)


@functools.cache
def availability(device: torch.device) -> tuple[bool, str]:
    """Say whether the kernels run on a device.

    Parameters
    ----------
    device : torch.device
        A CUDA device.

    Returns
    -------
    bool
        Whether they do.
    str
        In plain words which they are, or what keeps them from running.
    """
    if torch.version.hip is not None:
        return False, "the CUDA kernels do not run on AMD's GPUs"
    if not torch.cuda.is_available():
        return False, "PyTorch sees no NVIDIA GPU"
    index = _index(device)
    capability = torch.cuda.get_device_capability(index)
    if capability < _OLDEST:
        return False, (
            f"the GPU is too old: compute capability {capability[0]}.{capability[1]},"
            f" where {_OLDEST[0]}.{_OLDEST[1]} is needed"
        )
    try:
        plan = plan_forward(1, 1, 32, False, False, capability[0] >= 9)
        _kernel(index, plan, 0, 0, False, False)
    except (CompilerError, DriverError) as error:
        return False, str(error)
    return True, f"compiled for this GPU ({_architecture(index)})"


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
    index = k.device.index
    if index != torch.cuda.current_device():
        with torch.cuda.device(index):
            return forward(w, u, k, v, segments)
    batch, tokens, channels = k.shape
    y = torch.empty_like(k)
    half = k.dtype != torch.float32
    pairs = channels % 2 == 0 and not (k.data_ptr() | v.data_ptr() | y.data_ptr()) & 3
    plan = plan_forward(batch, tokens, channels, half, pairs, _clusters(index))
    run_forward(plan, w, u, k, v, y, segments)
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
    """
    if segments:
        raise NotImplementedError("the CUDA kernels differentiate the definition only")
    index = k.device.index
    if index != torch.cuda.current_device():
        with torch.cuda.device(index):
            return backward(grad, w, u, k, v, y, segments)
    batch, tokens, channels = k.shape
    gk, gv = torch.empty_like(k), torch.empty_like(v)
    half = k.dtype != torch.float32
    together = k.data_ptr() | v.data_ptr() | grad.data_ptr() | gk.data_ptr()
    pairs = channels % 2 == 0 and not (together | gv.data_ptr()) & 3
    plan = plan_backward(batch, tokens, channels, half, pairs, _clusters(index))
    gw, gu = run_backward(plan, grad, w, u, k, v, gk, gv)
    return gw, gu, gk, gv


def run_forward(
    plan: Plan, w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, segments: int
) -> None:
    """Launch the forward pass as a plan has it; arguments as in :func:`forward`."""
    batch, tokens, channels = k.shape
    index = k.device.index
    element = _ELEMENTS[k.dtype]
    sums = _scratch(plan, k, 10 if segments else 6)
    arguments = _ARGUMENTS.pack(
        w.data_ptr(),
        u.data_ptr(),
        k.data_ptr(),
        v.data_ptr(),
        0,
        y.data_ptr(),
        0,
        0,
        0 if sums is None else sums.data_ptr(),
        0,
        0,
        tokens,
        channels,
        plan.splits,
        -(-tokens // segments) if segments else 0,
    )
    stream = torch.cuda.current_stream().cuda_stream
    grid = plan.grid(batch, channels)
    for mode in (0,) if plan.splits == 1 else (1, 2):
        kernel = _kernel(index, plan, mode, element, segments > 0, False)
        kernel.launch(grid, plan.threads, stream, arguments, index)


def run_backward(
    plan: Plan,
    grad: Tensor,
    w: Tensor,
    u: Tensor,
    k: Tensor,
    v: Tensor,
    gk: Tensor,
    gv: Tensor,
) -> tuple[Tensor, Tensor]:
    """Launch the backward pass as a plan has it; arguments as in :func:`backward`."""
    batch, tokens, channels = k.shape
    index = k.device.index
    element = _ELEMENTS[k.dtype]
    sums, grad_sums = _scratch(plan, k, 6), _scratch(plan, k, 6)
    rows = batch * plan.cluster * plan.splits
    partial = torch.empty(rows * 2 * channels, dtype=torch.float32, device=k.device)
    gathered = torch.empty((2, channels), dtype=torch.float32, device=k.device)
    arguments = _ARGUMENTS.pack(
        w.data_ptr(),
        u.data_ptr(),
        k.data_ptr(),
        v.data_ptr(),
        grad.data_ptr(),
        0,
        gk.data_ptr(),
        gv.data_ptr(),
        0 if sums is None else sums.data_ptr(),
        0 if grad_sums is None else grad_sums.data_ptr(),
        partial.data_ptr(),
        tokens,
        channels,
        plan.splits,
        0,
    )
    stream = torch.cuda.current_stream().cuda_stream
    grid = plan.grid(batch, channels)
    if plan.splits > 1:
        kernel = _kernel(index, plan, 1, element, False, False)
        kernel.launch(grid, plan.threads, stream, arguments, index)
    for mode in (0,) if plan.splits == 1 else (1, 2):
        kernel = _kernel(index, plan, mode, element, False, True)
        kernel.launch(grid, plan.threads, stream, arguments, index)
    reduction = _REDUCTION.pack(partial.data_ptr(), gathered.data_ptr(), rows, channels)
    kernel = _loaded(index, ("reduce.cu",), (), "reduce_rows")
    kernel.launch((-(-2 * channels // 32), 1, 1), 1024, stream, reduction, index)
    gw, gu = gathered.unbind()
    return gw, gu


def _scratch(plan: Plan, k: Tensor, slots: int) -> Tensor | None:
    if plan.splits == 1:
        return None
    size = k.shape[0] * plan.splits * slots * k.shape[2]
    return torch.empty(size, dtype=torch.float32, device=k.device)


@functools.cache
def _kernel(
    index: int, plan: Plan, mode: int, element: int, segmented: bool, backward: bool
) -> Kernel:
    constants = plan.constants(mode, element, segmented, backward)
    sources = _BACKWARD if backward else _FORWARD
    name = "bi_wkv_backward" if backward else "bi_wkv"
    return _loaded(index, sources, tuple(constants.items()), name)


@functools.cache
def _loaded(
    index: int,
    sources: tuple[str, ...],
    constants: tuple[tuple[str, int], ...],
    name: str,
) -> Kernel:
    options = dict(constants)
    kernel = load_kernel(machine_code(sources, options, _architecture(index)), name)
    if options.get("CLUSTER", 1) > 8:
        kernel.allow_large_clusters(index)
    return kernel


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


@functools.cache
def _architecture(index: int) -> str:
    return "sm_{}{}".format(*torch.cuda.get_device_capability(index))


@functools.cache
def _clusters(index: int) -> bool:
    return torch.cuda.get_device_capability(index)[0] >= 9
