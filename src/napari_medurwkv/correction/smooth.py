"""Smooth classes: majority, opening, closing, Gaussian, and all classes jointly."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from napari_medurwkv.correction.balls import LONGER, dilate, erode
from napari_medurwkv.correction.boxes import class_boxes, pad_box, tiles, voxels_for
from napari_medurwkv.correction.watch import SILENT, Watch
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Tile

__all__ = ["SmoothMethod", "gaussian_radii", "median_sizes", "smooth"]

SmoothMethod = Literal["median", "opening", "closing", "gaussian", "joint"]

_TRUNCATE = 3.0
_TILE = 48
_THREADS = 2
_AT_ONCE = 32


def smooth(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    method: SmoothMethod,
    mm: float,
    classes: Sequence[int] | None = None,
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Smooth the surfaces of classes.

    What a class loses becomes background; what it gains was background, or was lost by
    another class of the same call. Where two classes gain a voxel the lower one gets
    it, but for "joint", where the stronger one does.

    Parameters
    ----------
    labels : ndarray of integers
        2D or 3D block of a mask. Beyond its border, the border is repeated.
    spacing : sequence of float, mm
        Voxel size per axis.
    method : {"median", "opening", "closing", "gaussian", "joint"}
        "median": the majority in a box of edge ``2 mm + 1 voxel``. "opening" and
        "closing": by a ball of radius `mm`; they remove spikes, and fill cracks.
        "gaussian": half of a Gaussian-weighted mean, standard deviation `mm`, cut off
        at three of them. "joint": every voxel goes to the class, background among
        them, of which the Gaussian-weighted mean is greatest; no gaps arise between
        classes that touch.
    mm : float
        Radius or standard deviation.
    classes : sequence of int, optional
        Classes to smooth; by default all but background.
    watch : Watch
        Told of each class.

    Returns
    -------
    ndarray
        A new block.
    """
    if not mm > 0:
        raise CorrectionError("The radius has to be more than 0 mm.")
    boxes = class_boxes(labels, classes)
    if not boxes:
        return labels.copy()
    if method == "joint":
        return _joint(labels, spacing, mm, tuple(boxes), watch)
    reach = _reach(method, mm, spacing)
    after = labels.copy()
    gains = []
    for done, (value, tight) in enumerate(boxes.items()):
        box = pad_box(tight, reach, labels.shape)
        mask = labels[box] == value
        part = watch.part(done, len(boxes))
        part.at(0)
        smoothed = _smooth_mask(mask, spacing, method, mm, part)
        view = after[box]
        view[mask & ~smoothed] = 0
        smoothed &= ~mask
        gains.append((value, box, smoothed))
    for value, box, gained in gains:
        view = after[box]
        view[gained & (view == 0)] = value
    watch.at(1.0)
    return after


def median_sizes(mm: float, spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the edge of the box of "median" in voxels; always odd."""
    return tuple(2 * n + 1 for n in voxels_for(mm, spacing))


def gaussian_radii(mm: float, spacing: Sequence[float]) -> tuple[int, ...]:
    """Return at how many voxels from its centre the Gaussian is cut off."""
    return tuple(max(1, math.ceil(_TRUNCATE * mm / s - 1e-6)) for s in spacing)


def _reach(method: str, mm: float, spacing: Sequence[float]) -> tuple[int, ...]:
    if method == "gaussian":
        return gaussian_radii(mm, spacing)
    return tuple(n + 1 for n in voxels_for(mm * LONGER, spacing))


def _smooth_mask(
    mask: NDArray[np.bool_],
    spacing: Sequence[float],
    method: str,
    mm: float,
    watch: Watch,
) -> NDArray[np.bool_]:
    if method == "opening":
        return dilate(erode(mask, mm, spacing), mm, spacing)
    if method == "closing":
        # Room around, so that closing does not fill up to the border of the array.
        room = [(n, n) for n in voxels_for(mm * LONGER, spacing)]
        roomy = np.pad(mask, room, mode="edge")
        closed = erode(dilate(roomy, mm, spacing), mm, spacing)
        inner = tuple(
            slice(low, n - high)
            for (low, high), n in zip(room, closed.shape, strict=True)
        )
        result: NDArray[np.bool_] = closed[inner] | mask
        return result
    halo = (
        gaussian_radii(mm, spacing)
        if method == "gaussian"
        else [n // 2 for n in median_sizes(mm, spacing)]
    )

    def work(block: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return _filter(block, spacing, method, mm)

    return _by_tiles(mask, halo, work, watch)


def _by_tiles(
    block: NDArray[Any],
    halo: Sequence[int],
    work: Callable[[NDArray[Any]], NDArray[Any]],
    watch: Watch,
) -> NDArray[Any]:
    """Filter a block tile by tile, in threads; where all is alike, it stays."""
    out = block.copy()

    def do(tile: Tile) -> None:
        context = block[tile.context]
        if context.min() != context.max():
            out[tile.core] = work(context)[tile.inner]

    parts = tiles(block.shape, halo, _TILE)
    with ThreadPoolExecutor(_THREADS) as pool:
        # Few at a time, so that there is not much left when it is cancelled.
        for start in range(0, len(parts), _AT_ONCE):
            watch.at(start / len(parts))
            list(pool.map(do, parts[start : start + _AT_ONCE]))
    return out


def _filter(
    mask: NDArray[np.bool_], spacing: Sequence[float], method: str, mm: float
) -> NDArray[np.bool_]:
    if method == "median":
        sizes = median_sizes(mm, spacing)
        counts = _box_counts(mask, sizes)
        majority: NDArray[np.bool_] = counts > math.prod(sizes) / 2
        return majority
    half: NDArray[np.bool_] = _blur(mask, spacing, mm) >= 0.5
    return half


def _box_counts(mask: NDArray[np.bool_], sizes: Sequence[int]) -> NDArray[np.float32]:
    """Count the true voxels of the box around each; exact up to 2**24."""
    counts = mask.astype(np.float32)
    for axis, size in enumerate(sizes):
        if size > 1:
            ndimage.uniform_filter1d(counts, size, axis, output=counts, mode="nearest")
            counts *= size
            np.rint(counts, out=counts)
    return counts


def _blur(
    mask: NDArray[np.bool_], spacing: Sequence[float], mm: float
) -> NDArray[np.float32]:
    weights = mask.astype(np.float32)
    radii = gaussian_radii(mm, spacing)
    for axis, (size, radius) in enumerate(zip(spacing, radii, strict=True)):
        offsets = np.arange(-radius, radius + 1) * (size / mm)
        kernel = np.exp(-0.5 * offsets**2)
        kernel /= kernel.sum()
        ndimage.correlate1d(weights, kernel, axis, output=weights, mode="nearest")
    # Sums in another order differ in the last digits; a half must stay a half.
    return np.round(weights, 5)


def _joint(
    labels: NDArray[Any],
    spacing: Sequence[float],
    mm: float,
    values: tuple[int, ...],
    watch: Watch,
) -> NDArray[Any]:
    radii = gaussian_radii(mm, spacing)

    def work(part: NDArray[Any]) -> NDArray[Any]:
        return _strongest(part, spacing, mm, values)

    after = _by_tiles(labels, radii, work, watch)
    watch.at(1.0)
    return after


def _strongest(
    part: NDArray[Any], spacing: Sequence[float], mm: float, values: tuple[int, ...]
) -> NDArray[Any]:
    best = np.zeros(part.shape, np.float32)
    winner = np.zeros(part.shape, part.dtype)
    rest = np.ones(part.shape, np.float32)
    for value in np.unique(part).tolist():
        if value == 0:
            continue
        strength = _blur(part == value, spacing, mm)
        rest -= strength
        if value in values:
            # The class that is there stays where two are equally strong.
            better = (strength > best) | ((strength == best) & (part == value))
            better &= strength > 0
            best[better] = strength[better]
            winner[better] = value
    rest = np.round(rest, 5)
    winner[(rest > best) | ((rest == best) & (part == 0))] = 0
    # Classes that are not smoothed keep their voxels, and their weight.
    others = ~np.isin(part, np.asarray((0, *values), part.dtype))
    winner[others] = part[others]
    return winner
