"""Images that stay where they are: zarr, dask, memory maps, pyramids of those."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io.image import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["LazyArray", "chunk_sizes", "lazy_image"]

KEPT_BYTES = 128 << 20
"""Whole stored pieces are kept for the next slice, if they are no more than this."""


def chunk_sizes(array: Any) -> tuple[int, ...] | None:
    """How far the stored pieces of an array reach per axis; None where unknown.

    Parameters
    ----------
    array : array-like
        zarr says one number per axis, dask one per piece.
    """
    chunks = getattr(array, "chunks", None)
    if not chunks:
        return None
    return tuple(max(c) if isinstance(c, tuple) else int(c) for c in chunks)


class LazyArray:
    """An array, perhaps at several resolutions, of which only parts are ever read.

    Slicing gives NumPy arrays. Turning it into an array as a whole is refused: it may
    be larger than memory.

    Parameters
    ----------
    levels : sequence of array-like
        Anything with shape, dtype and NumPy's slicing; the finest first. Coarser ones
        cover the same extent with fewer points.
    rgb : bool
        Whether the last axis is colour, or counts channels.
    colours : int
        How many of them are taken: a fourth colour, alpha, is dropped.
    """

    def __init__(
        self, levels: Sequence[Any], *, rgb: bool = False, colours: int = 3
    ) -> None:
        self._levels = tuple(levels)
        finest = self._levels[0]
        shape = tuple(int(n) for n in finest.shape)
        self.rgb = rgb
        self.colours = colours
        self.shape = (*shape[:-1], colours) if rgb else shape
        self.dtype: np.dtype[Any] = np.dtype(finest.dtype)
        self.ndim = len(shape)
        self._lock = threading.Lock()
        self._box: tuple[tuple[int, int], ...] = ()
        self._kept: NDArray[Any] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        part: NDArray[Any] = np.asarray(self._get(index))
        return part[..., : self.colours] if self.rgb else part

    def _get(self, index: Any) -> Any:
        """Read from the finest level, by whole pieces where slices cut through them."""
        level = self._levels[0]
        sizes = chunk_sizes(level)
        if sizes is None or self.ndim - self.rgb < 3:
            return level[index]
        places = index if isinstance(index, tuple) else (index,)
        if not all(_is_plain(place) for place in places):
            return level[index]
        shape = tuple(int(n) for n in level.shape)
        bounds = _bounds(places, shape)
        box = tuple(
            (first, end)
            if end - first >= size
            else (first // size * size, min(-(-end // size) * size, n))
            for (first, end), size, n in zip(bounds, sizes, shape, strict=True)
        )
        room = math.prod(end - first for first, end in box) * self.dtype.itemsize
        if box == bounds or room > KEPT_BYTES:
            return level[index]
        with self._lock:
            if self._kept is None or not _inside(bounds, self._box):
                self._kept = None
                self._kept = np.asarray(level[tuple(slice(*b) for b in box)])
                self._box = box
            return self._kept[_within(places, bounds, self._box)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise ImageError(
            f"This image of {' x '.join(map(str, self.shape))} points is read in parts "
            "only; ask for a part of it."
        )

    @property
    def levels(self) -> tuple[Any, ...]:
        """The arrays, the finest first."""
        return self._levels

    @property
    def chunks(self) -> Any:
        """How the finest level is stored; None where it does not say."""
        return getattr(self._levels[0], "chunks", None)

    @property
    def chunk_rows(self) -> int:
        """How far the stored pieces reach along the first axis; 1 if unknown."""
        sizes = chunk_sizes(self._levels[0])
        return 1 if sizes is None else sizes[0]

    def slabs(self, size: int) -> Iterator[slice]:
        """Cut the first axis into slabs of about `size` bytes, along stored pieces."""
        row = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        thickness = max(1, size // row)
        if thickness > self.chunk_rows:
            thickness -= thickness % self.chunk_rows
        for first in range(0, self.shape[0], thickness):
            yield slice(first, min(first + thickness, self.shape[0]))

    def level_for(self, shape: tuple[int, ...]) -> LazyArray:
        """Choose the coarsest level that is nowhere coarser than a grid.

        Parameters
        ----------
        shape : tuple of int
            Spatial shape of that grid, over the same extent.

        Returns
        -------
        LazyArray
            With that level alone; the finest where all others are too coarse.
        """
        spatial = len(shape)
        fitting = [
            level
            for level in self._levels
            if all(
                n >= wanted
                for n, wanted in zip(level.shape[:spatial], shape, strict=True)
            )
        ]
        level = fitting[-1] if fitting else self._levels[0]
        return LazyArray([level], rgb=self.rgb, colours=self.colours)


def _is_plain(place: Any) -> bool:
    """Whether it is a number, or a slice without steps."""
    if isinstance(place, slice):
        return place.step in (None, 1)
    return isinstance(place, int | np.integer)


def _bounds(
    places: tuple[Any, ...], shape: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    bounds = []
    for axis, n in enumerate(shape):
        place = places[axis] if axis < len(places) else slice(None)
        if isinstance(place, slice):
            first, end, _ = place.indices(n)
            bounds.append((first, max(first, end)))
        else:
            number = int(place) + (n if place < 0 else 0)
            bounds.append((number, number + 1))
    return tuple(bounds)


def _inside(
    bounds: tuple[tuple[int, int], ...], box: tuple[tuple[int, int], ...]
) -> bool:
    return all(a <= x and y <= b for (x, y), (a, b) in zip(bounds, box, strict=True))


def _within(
    places: tuple[Any, ...],
    bounds: tuple[tuple[int, int], ...],
    box: tuple[tuple[int, int], ...],
) -> tuple[Any, ...]:
    """Count an index from the first point of a box."""
    index: list[Any] = []
    for axis, ((first, end), (origin, _)) in enumerate(zip(bounds, box, strict=True)):
        number = axis < len(places) and not isinstance(places[axis], slice)
        index.append(first - origin if number else slice(first - origin, end - origin))
    return tuple(index)


def lazy_image(
    array: Any,
    *,
    spacing: Sequence[float] | None = None,
    unit: str = "mm",
    rgb: bool | None = None,
    name: str = "image",
) -> Image:
    """Make an image of an array that is not read as a whole.

    Parameters
    ----------
    array : array-like, or sequence of array-like
        zarr, dask or anything with shape, dtype and slicing, in display order
        ``(Y, X)`` or ``(Z, Y, X)``, with a last axis of 3 or 4 for colour. A sequence
        is a pyramid, the finest level first.
    spacing : sequence of float, optional
        Voxel size of the finest level per spatial axis, in `unit`.
    unit : str
        "mm", "um" or "nm".
    rgb : bool, optional
        Whether the last axis is colour; guessed by default, as by `image_from_array`.
    name : str
        Name of the image.

    Returns
    -------
    Image
        Its array is a `LazyArray`. Values that are not finite count as the lower limit
        of the intensities.

    Raises
    ------
    ImageError
        If the array is empty, has other than 2 or 3 spatial axes, or holds no numbers.
    """
    levels = list(array) if isinstance(array, (list, tuple)) else [array]
    if not levels:
        raise ImageError("The pyramid has no level.")
    shape = tuple(int(n) for n in levels[0].shape)
    if rgb is None:
        last = shape[-1] if shape else 0
        rgb = len(shape) >= 3 and last in (3, 4) and min(shape[:-1]) > last
    if rgb and shape[-1] not in (3, 4):
        raise ImageError(f"A colour image needs a last axis of 3 or 4, not {shape}.")
    spatial = shape[:-1] if rgb else shape
    if len(spatial) not in (2, 3):
        raise ImageError(
            f"An image needs 2 or 3 spatial axes, this array has shape {shape}."
        )
    if any(len(level.shape) != len(shape) for level in levels):
        raise ImageError("The pyramid's levels have different numbers of axes.")
    lazy = LazyArray(levels, rgb=rgb)
    if lazy.dtype.kind not in "biuf":
        raise ImageError(f"The array holds {lazy.dtype} values, not real numbers.")
    if 0 in shape:
        raise ImageError(f"The array is empty: its shape is {shape}.")
    return Image(lazy, Geometry.plain(spatial, spacing, unit), rgb, name)
