"""Network input, rows of one working plane at a time, read from the image on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from napari_medurwkv.inference.resample import resample
from napari_medurwkv.io import LazyArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.inference.intensity import IntensityScale
    from napari_medurwkv.inference.resample import Taps
    from napari_medurwkv.inference.windows import WindowGrid

__all__ = [
    "PlanarSource",
    "Source",
    "VolumeSource",
    "bands_of_plane",
    "windows_of_band",
]


Standard = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel of the network's input."""


class Source(Protocol):
    """Gives network input for rows of a working plane."""

    def rows(self, plane: int, first: int, end: int) -> Tensor:
        """Return float32 input of shape (channels, end - first, columns)."""
        ...


class PlanarSource:
    """A picture, or a stack of pictures that have nothing to do with each other.

    Rows are read as they are needed, so a picture may be larger than memory.

    Parameters
    ----------
    array : array-like
        Shape (Y, X) or (Z, Y, X), with a trailing colour axis if `rgb`.
    stack : bool
        Whether there is a Z axis.
    rgb : bool
        Whether there is a colour axis.
    scale : IntensityScale
        From stored values to network input.
    rows, columns : Taps
        From the image's grid to the working grid.
    channels : int
        Of the network; grey is repeated to fill them.
    standard : tuple of two tuples of float, optional
        Mean and standard deviation of each channel, taken out last.
    """

    def __init__(
        self,
        array: Any,
        *,
        stack: bool,
        rgb: bool,
        scale: IntensityScale,
        rows: Taps,
        columns: Taps,
        channels: int,
        standard: Standard | None = None,
    ) -> None:
        self._array = array
        self._stack = stack
        self._rgb = rgb
        self._scale = scale
        self._rows = rows
        self._columns = columns
        self._channels = channels
        # Rows that were read and that the next windows may need again.
        self._plane, self._low = -1, 0
        self._kept: NDArray[Any] | None = None
        self._standard = standard

    def rows(self, plane: int, first: int, end: int) -> Tensor:
        """Return float32 input of shape (channels, end - first, columns)."""
        low, high = self._rows.span(first, end)
        part = self._read(plane, low, high)
        data = _channels_first(part, self._rgb, self._scale)
        data = resample(data, self._rows, 1, first=first, end=end, offset=low)
        data = resample(data, self._columns, 2)
        return _spread(data, self._channels, self._standard)

    def _read(self, plane: int, low: int, high: int) -> NDArray[Any]:
        if not isinstance(self._array, LazyArray):
            return np.asarray(self._array[(plane, slice(low, high))[1 - self._stack :]])
        kept = self._kept
        if kept is None or plane != self._plane or low < self._low:
            kept, self._low = None, low
        elif low > self._low:
            kept = kept[low - self._low :]
            kept = kept if len(kept) else None
            self._low = low
        there = self._low + (0 if kept is None else len(kept))
        if there < high:
            # Stored pieces are unpacked as a whole, so they are read as a whole.
            step = 1 if self._stack else self._array.chunk_rows
            stop = min(-(-high // step) * step, self._rows.inputs)
            new = self._array[(plane, slice(there, stop))[1 - self._stack :]]
            kept = new if kept is None else np.concatenate([kept, new])
        if kept is None:
            raise ValueError(f"no rows from {low} to {high}")
        self._plane, self._kept = plane, kept
        return kept[: high - low]


class VolumeSource:
    """A volume, stepped along one axis on the working grid.

    The image's slices are read one by one, in order; only those are kept that coming
    working planes still need.

    Parameters
    ----------
    array : array-like
        Shape (Z, Y, X), with a trailing colour axis if `rgb`.
    axis : int
        The axis that is stepped.
    context : int
        Neighbouring working planes on each side that become channels; at the ends the
        last plane stands in for those that are missing. More than none goes with
        one-channel images only.
    planes, rows, columns : Taps
        From the image's grid to the working grid: along `axis`, and along the other
        two in their order.
    rgb, scale, channels, standard
        As for `PlanarSource`.
    """

    def __init__(
        self,
        array: Any,
        *,
        axis: int,
        context: int,
        rgb: bool,
        scale: IntensityScale,
        planes: Taps,
        rows: Taps,
        columns: Taps,
        channels: int,
        standard: Standard | None = None,
    ) -> None:
        self._array = array
        self._axis = axis
        self._context = context
        self._rgb = rgb
        self._scale = scale
        self._planes = planes
        self._rows = rows
        self._columns = columns
        self._channels = channels
        self._standard = standard
        self._slices: dict[int, Tensor] = {}
        self._working: dict[int, Tensor] = {}
        self._stack: tuple[int, Tensor] | None = None

    @property
    def held(self) -> int:
        """How many slices and planes are in memory."""
        return len(self._slices) + len(self._working)

    def rows(self, plane: int, first: int, end: int) -> Tensor:
        """Return float32 input of shape (channels, end - first, columns).

        Planes must be asked for in ascending order.
        """
        if self._stack is None or self._stack[0] != plane:
            self._stack = plane, self._make_stack(plane)
        return self._stack[1][:, first:end]

    def _make_stack(self, plane: int) -> Tensor:
        last = self._planes.outputs - 1
        steps = range(plane - self._context, plane + self._context + 1)
        parts = [self._plane(min(max(k, 0), last)) for k in steps]
        oldest = max(plane - self._context, 0)
        for k in [k for k in self._working if k < oldest]:
            del self._working[k]
        return _spread(torch.cat(parts), self._channels, self._standard)

    def _plane(self, k: int) -> Tensor:
        plane = self._working.get(k)
        if plane is None:
            pairs = self._planes.pairs(k)
            oldest = min(i for i, _ in pairs)
            for i in [i for i in self._slices if i < oldest]:
                del self._slices[i]
            plane = self._mix(pairs)
            self._working[k] = plane
        return plane

    def _mix(self, pairs: list[tuple[int, float]]) -> Tensor:
        if len(pairs) == 1:
            return self._slice(pairs[0][0])
        (first, weight), *others = pairs
        mix = self._slice(first) * weight
        for i, weight in others:
            mix.add_(self._slice(i), alpha=weight)
        return mix

    def _slice(self, i: int) -> Tensor:
        data = self._slices.get(i)
        if data is None:
            index = (*(slice(None),) * self._axis, i)
            part = np.asarray(self._array[index])
            data = _channels_first(part, self._rgb, self._scale)
            data = resample(data, self._rows, 1)
            data = resample(data, self._columns, 2)
            self._slices[i] = data
        return data


def _spread(data: Tensor, channels: int, standard: Standard | None) -> Tensor:
    """Repeat grey to fill the channels, then take out mean and deviation of each."""
    data = data.expand(channels, -1, -1)
    if standard is None:
        return data
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in standard)
    return (data - mean) / std


def _channels_first(values: Any, rgb: bool, scale: IntensityScale) -> Tensor:
    values = np.moveaxis(values, -1, 0) if rgb else values[None]
    return torch.from_numpy(scale.apply(values))


def bands_of_plane(
    source: Source,
    plane: int,
    grid: WindowGrid,
    *,
    origin: tuple[int, int] = (0, 0),
    pinned: bool = False,
) -> Iterator[tuple[int, Tensor]]:
    """Give the rows that the windows of each row position need.

    Where a window is larger than the plane, the plane is reflected at its borders.

    Parameters
    ----------
    source : Source
        Where the rows come from.
    plane : int
        Number of the working plane.
    grid : WindowGrid
        Its windows.
    origin : tuple of int
        Row and column of the plane from which the windows are counted.
    pinned : bool
        Whether the rows shall lie where CUDA can fetch them without being waited for.

    Yields
    ------
    row : int
        Number of the windows' row position.
    band : Tensor of float32, shape (channels, patch rows, columns)
        On the CPU.
    """
    rows, columns = grid.rows.reflection(), grid.columns.reflection()
    for row in range(len(grid.rows.starts)):
        first, end = grid.rows.covered(row)
        band = source.rows(plane, origin[0] + first, origin[0] + end)
        if band.shape[2] != grid.columns.length:
            band = band.narrow(2, origin[1], grid.columns.length)
        if rows is not None:
            band = band.index_select(1, torch.from_numpy(rows))
        if columns is not None:
            band = band.index_select(2, torch.from_numpy(columns))
        yield row, band.contiguous().pin_memory() if pinned else band


def windows_of_band(band: Tensor, grid: WindowGrid) -> Iterator[tuple[int, Tensor]]:
    """Cut rows into windows, from left to right.

    Yields
    ------
    column : int
        Number of the window's column position.
    window : Tensor of float32, shape (channels, patch rows, patch columns)
        A view of the band.
    """
    for column, start in enumerate(grid.columns.starts):
        left = max(start, 0)
        yield column, band[:, :, left : left + grid.columns.patch]
