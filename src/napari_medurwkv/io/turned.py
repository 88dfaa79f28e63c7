"""An array that is seen along other axes, part by part, without being read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.io.lazy import chunk_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LazyFrame", "TurnedArray"]


class TurnedArray:
    """A lazy array in display order: axes exchanged, some reversed.

    Parameters
    ----------
    array : array-like
        Anything with shape, dtype and NumPy's slicing.
    ornt : sequence of (int, int)
        For each axis of the view: the array's axis, and -1 where it is reversed. Axes
        of the array beyond these (colour) stay last.
    """

    def __init__(self, array: Any, ornt: Sequence[tuple[int, int]]) -> None:
        self._array = array
        self._ornt = tuple((int(axis), int(sign)) for axis, sign in ornt)
        extra = range(len(self._ornt), len(array.shape))
        self._order = (*(axis for axis, _ in self._ornt), *extra)
        self.shape = tuple(int(array.shape[axis]) for axis in self._order)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim = len(self.shape)
        sizes = chunk_sizes(array)
        self.chunks = None if sizes is None else tuple(sizes[a] for a in self._order)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        places = index if isinstance(index, tuple) else (index,)
        signs = [sign for _, sign in self._ornt] + [1] * (self.ndim - len(self._ornt))
        source: list[Any] = [slice(None)] * self.ndim
        back: list[slice] = []
        kept: list[int] = []
        for view, (axis, sign) in enumerate(zip(self._order, signs, strict=True)):
            n = self.shape[view]
            place = places[view] if view < len(places) else slice(None)
            if not isinstance(place, slice):
                number = int(place) + (n if place < 0 else 0)
                source[axis] = number if sign > 0 else n - 1 - number
                continue
            first, end, step = place.indices(n)
            if step < 1:
                raise IndexError("a turned array is read forwards")
            kept.append(axis)
            back.append(slice(None, None, sign))
            if sign < 0 and first < end:
                last = first + (end - 1 - first) // step * step
                first, end = n - 1 - last, n - first
            source[axis] = slice(first, end, step)
        part = np.asarray(self._array[tuple(source)])
        there = sorted(kept)
        turned: NDArray[Any] = part.transpose([there.index(axis) for axis in kept])
        return turned[tuple(back)]


class LazyFrame:
    """One frame of a lazy series; nothing is read before it is asked for.

    Parameters
    ----------
    array : array-like
        Its first axis counts frames.
    frame : int
        Which one.
    """

    def __init__(self, array: Any, frame: int) -> None:
        self._array = array
        self._frame = frame
        self.shape = tuple(int(n) for n in array.shape[1:])
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim = len(self.shape)
        sizes = chunk_sizes(array)
        self.chunks = None if sizes is None else sizes[1:]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        places = index if isinstance(index, tuple) else (index,)
        return np.asarray(self._array[(self._frame, *places)])
