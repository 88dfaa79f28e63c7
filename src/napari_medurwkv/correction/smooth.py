"""Smooth classes: majority, opening, closing, Gaussian, and all classes jointly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from napari_medurwkv.correction.balls import LONGER, dilate, erode
from napari_medurwkv.correction.boxes import class_boxes, pad_box, slabs, voxels_for
from napari_medurwkv.correction.watch import SILENT, Watch
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["SmoothMethod", "gaussian_radii", "median_sizes", "smooth"]

SmoothMethod = Literal["median", "opening", "closing", "gaussian", "joint"]

_TRUNCATE = 3.0
_SLAB_VOXELS = 1 << 23


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
    out = np.empty_like(mask)
    halo = max(_reach(method, mm, spacing)[0], 1)
    plane = max(1, math.prod(mask.shape[1:]))
    parts = list(
        slabs(
            tuple(slice(0, n) for n in mask.shape),
            halo,
            max(halo, _SLAB_VOXELS // plane),
        )
    )
    for done, (core, context) in enumerate(parts):
        watch.at(done / len(parts))
        low = core[0].start - context[0].start
        high = low + core[0].stop - core[0].start
        out[core] = _filter(mask[context], spacing, method, mm)[low:high]
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
    after = labels.copy()
    radii = gaussian_radii(mm, spacing)
    plane = max(1, math.prod(labels.shape[1:]))
    whole = tuple(slice(0, n) for n in labels.shape)
    parts = list(slabs(whole, radii[0], max(radii[0], _SLAB_VOXELS // plane)))
    for done, (core, context) in enumerate(parts):
        watch.at(done / len(parts))
        low = core[0].start - context[0].start
        planes = slice(low, low + core[0].stop - core[0].start)
        part = labels[context]
        own = part[planes]
        best = np.zeros(own.shape, np.float32)
        winner = np.zeros(own.shape, labels.dtype)
        rest = np.ones(own.shape, np.float32)
        for value, tight in class_boxes(part, values).items():
            box = pad_box(tight, radii, part.shape)
            strength = _blur(part[box] == value, spacing, mm)
            inner, outer = _overlap(box[0], planes)
            if inner.stop <= inner.start:
                continue
            strong = strength[inner]
            at = (outer, *box[1:])
            rest[at] -= strong
            # The class that is there stays where two are equally strong.
            better = (strong > best[at]) | ((strong == best[at]) & (own[at] == value))
            better &= strong > 0
            best[at][better] = strong[better]
            winner[at][better] = value
        others = ~np.isin(own, np.asarray((0, *values), labels.dtype))
        if others.any():
            # Classes that are not smoothed keep their voxels, and their weight.
            for value in np.unique(part[~np.isin(part, (0, *values))]):
                rest -= _blur(part == value, spacing, mm)[planes]
        rest = np.round(rest, 5)
        empty = (rest > best) | ((rest == best) & (own == 0))
        winner[empty] = 0
        winner[others] = own[others]
        after[core] = winner
    watch.at(1.0)
    return after


def _overlap(rows: slice, planes: slice) -> tuple[slice, slice]:
    """Planes of a box within the core: in the box, and in the core."""
    start, stop = max(rows.start, planes.start), min(rows.stop, planes.stop)
    return (
        slice(start - rows.start, stop - rows.start),
        slice(start - planes.start, stop - planes.start),
    )
