"""Images that stay where they are: zarr, dask, memory maps, pyramids of those."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io.image import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["LazyArray", "lazy_image"]


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
        Whether the last axis is colour; a fourth colour, alpha, is dropped.
    """

    def __init__(self, levels: Sequence[Any], *, rgb: bool = False) -> None:
        self._levels = tuple(levels)
        finest = self._levels[0]
        shape = tuple(int(n) for n in finest.shape)
        self.rgb = rgb
        self.shape = (*shape[:-1], 3) if rgb else shape
        self.dtype: np.dtype[Any] = np.dtype(finest.dtype)
        self.ndim = len(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        part: NDArray[Any] = np.asarray(self._levels[0][index])
        return part[..., :3] if self.rgb else part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise ImageError(
            f"This image of {' x '.join(map(str, self.shape))} points is read in parts "
            "only; ask for a part of it."
        )

    @property
    def chunks(self) -> Any:
        """How the finest level is stored; None where it does not say."""
        return getattr(self._levels[0], "chunks", None)

    @property
    def chunk_rows(self) -> int:
        """How far the stored pieces reach along the first axis; 1 if unknown."""
        if not self.chunks:
            return 1
        first = self.chunks[0]
        return max(first) if isinstance(first, tuple) else int(first)

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
        return LazyArray([fitting[-1] if fitting else self._levels[0]], rgb=self.rgb)


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
