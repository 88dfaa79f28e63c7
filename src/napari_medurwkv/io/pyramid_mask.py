"""A mask too large for memory: zarr arrays at several resolutions, filled in parts."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

__all__ = ["PyramidMask"]

STEP = 4
"""Every so many-th row and column is in the next level."""
SMALLEST = 1024
"""Levels get smaller until no side is longer than this."""
CHUNK = 512


class PyramidMask:
    """Labels in a folder; what is written appears at all levels.

    A level holds every fourth row and column of the one before, so it has no values
    that the mask has not. Planes are not thinned out.

    Parameters
    ----------
    folder : Path
        Made by `create`.

    Attributes
    ----------
    folder : Path
        Where it lies.
    levels : tuple of zarr.Array
        The finest first.
    shape : tuple of int
        Of the finest.
    dtype : dtype
        Of all.
    """

    def __init__(self, folder: str | Path) -> None:
        zarr = _zarr()
        self.folder = Path(folder)
        count = sum(1 for part in self.folder.iterdir() if part.name.isdigit())
        self.levels: tuple[Any, ...] = tuple(
            zarr.open_array(self.folder / str(number), mode="r+")
            for number in range(count)
        )
        finest = self.levels[0]
        self.shape: tuple[int, ...] = tuple(int(n) for n in finest.shape)
        self.dtype: np.dtype[Any] = np.dtype(finest.dtype)
        self.ndim = len(self.shape)

    @classmethod
    def create(
        cls, folder: str | Path, shape: Sequence[int], dtype: DTypeLike
    ) -> PyramidMask:
        """Make an empty one.

        Parameters
        ----------
        folder : str or Path
            Must not exist.
        shape : sequence of int
            The last two axes are rows and columns.
        dtype : dtype
            Of the labels.

        Raises
        ------
        OutputError
            If it cannot be made.
        """
        zarr = _zarr()
        where = Path(folder)
        try:
            where.mkdir(parents=True)
            group = zarr.open_group(where, mode="w", zarr_format=2)
            number, size = 0, tuple(int(n) for n in shape)
            while True:
                pieces = (*(1,) * (len(size) - 2), CHUNK, CHUNK)
                group.create_array(
                    str(number),
                    shape=size,
                    dtype=np.dtype(dtype),
                    chunks=tuple(min(p, n) for p, n in zip(pieces, size, strict=True)),
                    chunk_key_encoding={"name": "v2", "separator": "/"},
                    fill_value=0,
                )
                number += 1
                if max(size[-2:]) <= SMALLEST:
                    break
                size = (*size[:-2], *(-(-n // STEP) for n in size[-2:]))
        except OSError as error:
            raise OutputError(
                f"The folder {where} for the mask cannot be made ({error.strerror})."
            ) from error
        return cls(where)

    @property
    def nbytes(self) -> int:
        """Bytes that the finest level would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return np.asarray(self.levels[0][index])

    def __setitem__(self, index: Any, labels: Any) -> None:
        """Write a box of labels; numbers and slices without steps only."""
        if index is Ellipsis:
            for level in self.levels:
                level[...] = labels
            return
        places = index if isinstance(index, tuple) else (index,)
        places += (slice(None),) * (self.ndim - len(places))
        bounds = []
        for place, n in zip(places, self.shape, strict=True):
            if isinstance(place, slice):
                bounds.append(place.indices(n)[:2])
            else:
                bounds.append((int(place), int(place) + 1))
        size = tuple(end - first for first, end in bounds)
        values = np.broadcast_to(
            np.asarray(labels, self.dtype), self._given(places, size)
        ).reshape(size)
        factor = 1
        for level in self.levels:
            source: list[slice] = []
            target: list[slice] = []
            for axis, (first, end) in enumerate(bounds):
                step = factor if axis >= self.ndim - 2 else 1
                start = -(-first // step)
                source.append(slice(start * step - first, None, step))
                target.append(slice(start, -(-end // step)))
            part = values[tuple(source)]
            if part.size:
                level[tuple(target)] = part
            factor *= STEP

    @staticmethod
    def _given(places: tuple[Any, ...], size: tuple[int, ...]) -> tuple[int, ...]:
        """Shape that labels have for an index: numbers take their axis away."""
        return tuple(
            n for place, n in zip(places, size, strict=True) if isinstance(place, slice)
        )

    def describe(self, attributes: Mapping[str, Any]) -> None:
        """Write the attributes that make it an OME-Zarr label image."""
        _zarr().open_group(self.folder, mode="r+").attrs.update(attributes)

    def remove(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImageError(
            "A mask that does not fit into memory needs one more package: run pip "
            'install "napari-medurwkv[zarr]".'
        ) from error
    return zarr
