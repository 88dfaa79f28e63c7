"""Other ways to compute the operators on a GPU, for comparison only."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from pathlib import Path

import torch
from napari_medurwkv.kernels import _cuda_launch
from napari_medurwkv.kernels._cuda_compile import compile_program
from napari_medurwkv.kernels._cuda_driver import Kernel, load_kernel, load_library
from torch import Tensor

Run = Callable[[], Tensor]


@functools.cache
def _kernel(name: str) -> Kernel:
    source = Path(__file__).with_name("rivals.cu").read_text(encoding="utf-8")
    code = compile_program(source, [], _cuda_launch.architecture(0))
    return load_kernel(load_library(code), name)


def serial(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Run:
    """Compute with one thread per channel, float32."""
    y, states = torch.empty_like(k), torch.empty((3, *k.shape), device=k.device)
    tensors = (w, u, k, v, y, states)
    arguments = struct.pack("6Q3i", *(x.data_ptr() for x in tensors), *k.shape)
    blocks = -(-k.shape[0] * k.shape[2] // 32)

    def run() -> Tensor:
        _kernel("serial_bi_wkv").launch(
            (blocks, 1, 1), 32, 0, _cuda_launch.stream(0), arguments, 0
        )
        return y

    return run


def serial_wkv6(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Run:
    """Compute in the published kernel's layout: a block per sequence and head."""
    y = torch.empty_like(r)
    tensors = (r, k, v, w, u, y)
    batch, tokens, _ = r.shape
    numbers = (batch, tokens, u.shape[0])
    arguments = struct.pack("6Q3i", *(x.data_ptr() for x in tensors), *numbers)

    def run() -> Tensor:
        _kernel("serial_wkv6").launch(
            (batch * u.shape[0], 1, 1), 64, 0, _cuda_launch.stream(0), arguments, 0
        )
        return y

    return run


def package(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Run | None:
    """Compute by the package `biwkv4-cuda`, if it is installed; float32."""
    try:
        import biwkv4_cuda
    except ImportError:
        return None
    return lambda: biwkv4_cuda.forward(w, u, k, v)
