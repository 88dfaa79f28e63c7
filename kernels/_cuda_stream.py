"""Bi-WKV of sequences that no cluster holds: three launches, five for the gradient."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ._cuda_launch import kernel, stream

if TYPE_CHECKING:
    from torch import Tensor

    from ._cuda_driver import Kernel
    from ._cuda_plan import Stream

__all__ = ["StreamJob", "stream_job"]

_JOIN = (32, 1024)  # channels and threads of a block of bi_wkv_join
_FORWARD = (
    "cuda_elements.cuh",
    "cuda_tile.cuh",
    "bi_wkv_sums.cuh",
    "bi_wkv_stream.cuh",
    "bi_wkv_stream.cu",
)
_BACKWARD = (*_FORWARD[:-1], "bi_wkv_stream_backward.cu")
_ARGUMENTS = struct.Struct("15Q2i")


@dataclass(frozen=True, slots=True, eq=False)
class StreamJob:
    """Launches that compute one problem, ready but for the tensors.

    Attributes
    ----------
    cut : Stream
        How the problem is cut.
    kernels : tuple of Kernel
        Sums, join, and then outputs, or the gradients' sums and the gradients.
    shape : tuple of int
        Shape of `k`.
    index : int
        The device.
    """

    cut: Stream
    kernels: tuple[Kernel, ...]
    shape: tuple[int, int, int]
    index: int

    @property
    def rows(self) -> int:
        """Tiles that contribute to the gradients of w and u."""
        return self.shape[0] * self.cut.tiles(self.shape[1])

    @property
    def sums(self) -> tuple[int, int]:
        """Floats for the sums of runs, and for those of tiles."""
        tiles = 6 * self.rows * self.shape[2]
        return self.cut.rows * tiles, tiles

    def forward(self, w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor) -> None:
        """Compute the output into `y`."""
        runs, tiles = self.sums
        # Freed at once, reused only behind this work on the same stream.
        scratch = torch.empty(runs + 2 * tiles, dtype=torch.float32, device=k.device)
        given = [x.data_ptr() for x in (w, u, k, v)]
        places = _places(scratch.data_ptr(), runs, tiles)
        arguments = [*given, 0, y.data_ptr(), 0, 0, *places, 0, 0, 0, 0]
        self._run((0, 1, 2), arguments)

    def backward(
        self,
        grad: Tensor,
        w: Tensor,
        u: Tensor,
        k: Tensor,
        v: Tensor,
        gk: Tensor,
        gv: Tensor,
        partial: Tensor,
    ) -> None:
        """Compute the gradients of k and v, and what tiles add to those of w and u."""
        runs, tiles = self.sums
        scratch = torch.empty(
            2 * (runs + 2 * tiles), dtype=torch.float32, device=k.device
        )
        start = scratch.data_ptr()
        given = [x.data_ptr() for x in (w, u, k, v, grad)]
        results = [gk.data_ptr(), gv.data_ptr()]
        forward = _places(start, runs, tiles)
        backward = _places(start + 4 * (runs + 2 * tiles), runs, tiles)
        last = partial.data_ptr()
        arguments = [*given, 0, *results, *forward, *backward, last]
        self._run((0, 1, 2), arguments)
        self._run((1,), [*given, 0, *results, *backward, *backward, last])
        self._run((3,), arguments)

    def _run(self, steps: tuple[int, ...], arguments: list[int]) -> None:
        batch, tokens, channels = self.shape
        packed = _ARGUMENTS.pack(*arguments, tokens, channels)
        handle = stream(self.index)
        grid = (-(-channels // self.cut.lanes), self.cut.tiles(tokens), batch)
        for step in steps:
            if step == 1:
                joins = (-(-channels // _JOIN[0]), 2, batch)
                self.kernels[1].launch(joins, _JOIN[1], 0, handle, packed, self.index)
            else:
                self.kernels[step].launch(
                    grid, self.cut.threads, 0, handle, packed, self.index
                )


def _places(start: int, runs: int, tiles: int) -> tuple[int, int, int]:
    """Addresses of the sums of runs, of tiles, and of what enters tiles."""
    return start, start + 4 * runs, start + 4 * (runs + tiles)


def stream_job(
    cut: Stream,
    index: int,
    shape: tuple[int, int, int],
    element: int,
    *,
    backward: bool,
) -> StreamJob:
    """Compile and load what a problem takes.

    Parameters
    ----------
    cut : Stream
        How to cut it.
    index : int
        The device.
    shape : tuple of int
        Shape of `k`.
    element : int
        The kernels' number of its type.
    backward : bool
        The gradient rather than the output.

    Returns
    -------
    StreamJob
    """
    last = ("bi_wkv_grad_sums", "bi_wkv_grads") if backward else ("bi_wkv_outputs",)
    names = ("bi_wkv_sums", "bi_wkv_join", *last)
    sources = _BACKWARD if backward else _FORWARD
    constants = cut.constants(element, backward)
    kernels = tuple(kernel(index, name, sources, constants) for name in names)
    return StreamJob(cut, kernels, shape, index)
