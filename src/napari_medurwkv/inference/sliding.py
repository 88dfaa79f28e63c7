"""Sliding windows over an array of any size, two- or three-dimensional.

This is the engine without cards, files and geometry: an array in, averages or class
numbers of final planes out, while later windows are still to come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medurwkv.errors import CancelledError
from napari_medurwkv.inference.predictor import evaluating
from napari_medurwkv.inference.ring import Ring, add_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.inference.windows import WindowGrid

__all__ = ["ArrayWindows", "sliding_averages", "sliding_labels"]


class ArrayWindows:
    """Cuts an array into windows, each read when its turn comes.

    Parameters
    ----------
    array : array-like, shape (channels, rows, columns) or (channels, planes, ...)
        A tensor, or anything with NumPy's slicing: zarr, dask, a memory map.
    grid : WindowGrid
        Its windows. Where one is larger than the array, the array is reflected.
    """

    def __init__(self, array: Any, grid: WindowGrid) -> None:
        self._array = array
        self._grid = grid
        self._reflections = [axis.reflection() for axis in grid.axes]

    def read(self, place: tuple[int, ...]) -> Tensor:
        """Return float32 input of shape (channels, *patch)."""
        spans = [a.covered(n) for a, n in zip(self._grid.axes, place, strict=True)]
        index = (slice(None), *(slice(first, end) for first, end in spans))
        part = self._array[index]
        if not isinstance(part, torch.Tensor):
            part = torch.from_numpy(np.ascontiguousarray(part))
        window: Tensor = part.to(torch.float32)
        for axis, source in enumerate(self._reflections):
            if source is not None:
                order = torch.from_numpy(source).to(window.device)
                window = window.index_select(axis + 1, order)
        return window


def sliding_averages(
    array: Any,
    grid: WindowGrid,
    network: nn.Module,
    predictor: Predictor,
    outputs: int,
    *,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """Give the network's averaged output, planes of it as they become final.

    Parameters
    ----------
    array : array-like, shape (channels, *grid.shape)
        Network input; read window by window.
    grid : WindowGrid
        From `windows.window_grid`.
    network : nn.Module
        What the predictor computes.
    predictor : Predictor
        Where and how.
    outputs : int
        Channels of the output.
    cancel : callable, optional
        Asked before every window; True ends it with `CancelledError`.

    Yields
    ------
    first, end : int
        Planes (rows of a picture) that are final.
    averages : Tensor of float32, shape (outputs, end - first, ...)
    """
    for ring, first, end in _rings(array, grid, network, predictor, outputs, cancel):
        yield first, end, ring.take(first, end)


def sliding_labels(
    array: Any,
    grid: WindowGrid,
    network: nn.Module,
    predictor: Predictor,
    values: NDArray[Any],
    *,
    out: Any = None,
    cancel: Callable[[], bool] | None = None,
) -> Any:
    """Give the class with the largest averaged output at every point.

    Parameters
    ----------
    array, grid, network, predictor, cancel
        As for `sliding_averages`.
    values : ndarray of uint8 or uint16, shape (outputs,)
        What to write for each output.
    out : array-like, shape grid.shape, optional
        Filled in the order of its first axis; a new array by default.

    Returns
    -------
    array-like
        `out`.
    """
    if out is None:
        out = np.empty(grid.shape, values.dtype)
    count = len(values)
    for ring, first, end in _rings(array, grid, network, predictor, count, cancel):
        out[first:end] = ring.labels(first, end, values)
    return out


def _rings(
    array: Any,
    grid: WindowGrid,
    network: nn.Module,
    predictor: Predictor,
    outputs: int,
    cancel: Callable[[], bool] | None,
) -> Iterator[tuple[Ring, int, int]]:
    source, ring = ArrayWindows(array, grid), Ring(grid, outputs)
    batch: list[tuple[int, ...]] = []
    left = len(grid)
    with evaluating(network):
        for place in grid.places():
            batch.append(place)
            left -= 1
            if left and len(batch) < predictor.windows_at_once:
                continue
            if cancel is not None and cancel():
                raise CancelledError(
                    f"Cancelled with {left + len(batch)} of {len(grid)} windows to do."
                )
            logits = predictor([source.read(p) for p in batch])
            for one, number in enumerate(batch):
                ready = add_window(ring, predictor, number, logits[one])
                if ready is not None:
                    yield ring, *ready
            batch.clear()
            del logits
