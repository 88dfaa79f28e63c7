"""Where the windows lie on a plane, and how much each counts at every pixel."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medurwkv.errors import MedurwkvError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["AxisWindows", "WindowGrid", "axis_windows", "window_grid"]

SIGMA = 0.125
"""Standard deviation of the Gaussian weights, as a part of the window's length."""

MAX_OVERLAP = 0.95
"""Beyond it, every pixel would be computed more than 400 times."""


@dataclass(frozen=True, slots=True)
class AxisWindows:
    """The windows along one axis.

    Attributes
    ----------
    length : int
        Pixels of the image along the axis.
    patch : int
        Pixels of a window.
    starts : tuple of int
        First pixel of each window, ascending; negative only where a single window is
        larger than the image, which then lies in its middle.
    weights : tuple of ndarray of float32
        For each window, its share at each image pixel it covers. The shares of all
        windows at one pixel add up to 1, so nothing has to be divided afterwards.
    """

    length: int
    patch: int
    starts: tuple[int, ...]
    weights: tuple[NDArray[np.float32], ...]

    def covered(self, window: int) -> tuple[int, int]:
        """Return the image pixels [first, end) that a window covers."""
        start = self.starts[window]
        return max(start, 0), min(start + self.patch, self.length)

    def final_after(self, window: int) -> int:
        """Return the first pixel that windows after this one still reach."""
        if window + 1 == len(self.starts):
            return self.length
        return self.starts[window + 1]

    def part(self, first: int, end: int) -> tuple[AxisWindows, int]:
        """Keep the windows that reach into pixels [first, end).

        Returns
        -------
        windows : AxisWindows
            Counted from the first pixel that any of them covers. At [first, end) their
            shares still add up to 1; beside it they do not.
        origin : int
            That first pixel.
        """
        covered = [self.covered(i) for i in range(len(self.starts))]
        kept = [i for i, (a, b) in enumerate(covered) if a < end and b > first]
        origin, last = covered[kept[0]][0], covered[kept[-1]][1]
        windows = AxisWindows(
            last - origin,
            self.patch,
            tuple(self.starts[i] - origin for i in kept),
            tuple(self.weights[i] for i in kept),
        )
        return windows, origin

    def reflection(self) -> NDArray[np.int64] | None:
        """Return, for a window larger than the image, where each pixel comes from.

        Returns
        -------
        ndarray of int64, shape (patch,), or None
            Image pixels, reflected at the image's borders as often as needed; None
            where every window lies inside the image.
        """
        if self.length >= self.patch:
            return None
        if self.length == 1:
            return np.zeros(self.patch, np.int64)
        period = 2 * (self.length - 1)
        phase = np.arange(self.starts[0], self.starts[0] + self.patch) % period
        return np.minimum(phase, period - phase)


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """The windows of a picture or volume: every combination of positions per axis.

    Attributes
    ----------
    axes : tuple of AxisWindows
        Along (rows, columns) or (planes, rows, columns).
    """

    axes: tuple[AxisWindows, ...]

    @property
    def rows(self) -> AxisWindows:
        """Along the last axis but one."""
        return self.axes[-2]

    @property
    def columns(self) -> AxisWindows:
        """Along the last axis."""
        return self.axes[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis."""
        return tuple(axis.length for axis in self.axes)

    @property
    def patch(self) -> tuple[int, ...]:
        """Points of a window per axis."""
        return tuple(axis.patch for axis in self.axes)

    def places(self) -> Iterator[tuple[int, ...]]:
        """Go through the windows in reading order, as numbers of positions."""
        return itertools.product(*(range(len(axis.starts)) for axis in self.axes))

    def __len__(self) -> int:
        return math.prod(len(axis.starts) for axis in self.axes)


def axis_windows(length: int, patch: int, overlap: float) -> AxisWindows:
    """Spread the windows evenly over one axis.

    As few as possible with at least `overlap` of a window between neighbours; the first
    begins and the last ends at the image's border.

    Parameters
    ----------
    length : int
        Pixels of the image.
    patch : int
        Pixels of a window.
    overlap : float
        Least common part of neighbouring windows, from 0 to 0.95.

    Raises
    ------
    MedurwkvError
        If the overlap is out of range.
    """
    if not 0 <= overlap <= MAX_OVERLAP:
        raise MedurwkvError(
            f"The overlap is {overlap:g}; choose a number from 0 to {MAX_OVERLAP:g}."
        )
    if length <= patch:
        starts: tuple[int, ...] = (-((patch - length) // 2),)
    else:
        # The tolerance keeps 0.7 * 10 from asking for one more window than 7 does.
        stride = max(1, math.floor(patch * (1 - overlap) + 1e-6))
        steps = -(-(length - patch) // stride)
        starts = tuple(
            (2 * i * (length - patch) + steps) // (2 * steps) for i in range(steps + 1)
        )
    position = np.arange(patch) - (patch - 1) / 2
    bell = np.exp(-0.5 * (position / (SIGMA * patch)) ** 2)
    total = np.zeros(length)
    pieces = []
    for start in starts:
        first, end = max(start, 0), min(start + patch, length)
        piece = bell[first - start : end - start]
        total[first:end] += piece
        pieces.append((first, end, piece))
    weights = tuple(
        (piece / total[first:end]).astype(np.float32) for first, end, piece in pieces
    )
    return AxisWindows(length, patch, starts, weights)


def window_grid(
    shape: Sequence[int], patch: Sequence[int], overlap: float
) -> WindowGrid:
    """Spread windows of `patch` over a picture or volume of `shape`.

    Parameters
    ----------
    shape, patch : sequence of int
        (rows, columns) or (planes, rows, columns).
    overlap : float
        Least common part of neighbouring windows, from 0 to 0.95.

    Returns
    -------
    WindowGrid
    """
    return WindowGrid(
        tuple(axis_windows(n, p, overlap) for n, p in zip(shape, patch, strict=True))
    )
