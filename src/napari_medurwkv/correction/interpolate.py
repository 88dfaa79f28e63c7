"""Fill the slices between drawn ones, by signed distances to the drawn contours.

The distance maps of two drawn slices, negative inside, are mixed linearly in between;
where the mix is negative lies the shape (Raya and Udupa, "Shape-based interpolation of
multidimensional objects", IEEE Transactions on Medical Imaging 9, 1990). Shapes that
move from slice to slice are laid over each other before and moved on the way.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medurwkv.correction.boxes import class_boxes
from napari_medurwkv.correction.watch import SILENT, Watch
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["fill_between_slices", "signed_distance"]


def signed_distance(
    mask: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Return the distance in mm to the surface, negative inside.

    The surface lies half-way between the centre of a voxel and of its neighbour, so no
    voxel has distance 0.

    Parameters
    ----------
    mask : ndarray of bool
        Some true, some false.
    spacing : sequence of float, mm
        Voxel size per axis.

    Returns
    -------
    ndarray of float64
    """
    half = min(spacing) / 2
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    result: NDArray[np.float64] = np.where(mask, half - inside, outside - half)
    return result


def fill_between_slices(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    axis: int,
    classes: Sequence[int] | None = None,
    keys: Sequence[int] | None = None,
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Interpolate classes between the slices on which they are drawn.

    Parameters
    ----------
    labels : (Z, Y, X) ndarray of integers
        Block of a mask. Only its background is filled, on slices that lie between two
        drawn ones; where several classes would fill a voxel the one that lies deepest
        there does.
    spacing : sequence of float, mm
        Voxel size per axis.
    axis : int
        Axis across which the slices lie.
    classes : sequence of int, optional
        Classes to interpolate; by default all but background.
    keys : sequence of int, optional
        The slices that were drawn. A class that is absent from one of them ends there.
        By default, for each class, all slices that hold it.
    watch : Watch
        Told of each class.

    Returns
    -------
    ndarray
        A new block.
    """
    if labels.ndim != 3:
        raise CorrectionError(
            "Slices can be filled in between only in a volume; choose the scope "
            "volume, slab or region."
        )
    stack = np.moveaxis(labels, axis, 0)
    plane_spacing = [s for i, s in enumerate(spacing) if i != axis]
    depth = np.zeros(stack.shape, np.float32)
    winner = np.zeros(stack.shape, labels.dtype)
    boxes = class_boxes(stack, classes)
    for done, (value, box) in enumerate(boxes.items()):
        own = watch.part(done, len(boxes))
        drawn = _drawn(stack[box[0]] == value, box[0].start, keys)
        _fill_class(stack, value, drawn, plane_spacing, depth, winner, own)
    after = labels.copy()
    filled = np.moveaxis(after, axis, 0)
    free = (filled == 0) & (winner != 0)
    filled[free] = winner[free]
    watch.at(1.0)
    return after


def _drawn(
    mask: NDArray[np.bool_], first: int, keys: Sequence[int] | None
) -> list[int]:
    if keys is not None:
        return sorted({int(k) for k in keys})
    return [int(k) + first for k in np.flatnonzero(mask.any(axis=(1, 2)))]


def _fill_class(
    stack: NDArray[Any],
    value: int,
    drawn: list[int],
    spacing: Sequence[float],
    depth: NDArray[np.float32],
    winner: NDArray[Any],
    watch: Watch,
) -> None:
    gaps = [(a, b) for a, b in pairwise(drawn) if b - a > 1]
    for done, (low, high) in enumerate(gaps):
        watch.at(done / len(gaps))
        between = stack[low + 1 : high]
        if (between == value).any():
            continue  # drawn on after all: with `keys`, what was drawn stays
        first, second = stack[low] == value, stack[high] == value
        both = first | second
        if not both.any():
            continue
        window = _window(both)
        start, end = _distances(first[window], second[window], spacing)
        if start is None or end is None:
            continue
        shift = _shift(first[window], second[window])
        for step in range(1, high - low):
            t = step / (high - low)
            if shift is None:
                mix = (1 - t) * start + t * end
            else:
                mix = (1 - t) * _moved(start, t * shift) + t * _moved(
                    end, (t - 1) * shift
                )
            at: tuple[Any, ...] = (low + step, *window)
            inside = -mix
            better = inside > np.maximum(depth[at], 1e-6)
            depth[at][better] = inside[better]
            winner[at][better] = value


def _window(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Box of a mask with one voxel of room; distances need no more than that."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(0, s.start - 1), min(n, s.stop + 1))
        for s, n in zip(box, mask.shape, strict=True)
    )


def _distances(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    maps: list[NDArray[np.float64] | None] = []
    for mask in (first, second):
        if not mask.any():
            maps.append(None)
            continue
        if mask.all():
            # It fills the plane: deeper inside than anything can be outside.
            depth = sum(n * s for n, s in zip(mask.shape, spacing, strict=True))
            maps.append(np.full(mask.shape, -float(depth)))
            continue
        maps.append(signed_distance(mask, spacing))
    start, end = maps
    # A class that ends there shrinks to nothing on the way.
    if start is None and end is not None:
        start = end - float(end.min())
    elif end is None and start is not None:
        end = start - float(start.min())
    return start, end


def _shift(
    first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Way from one centre to the other; None where the shapes lie over each other."""
    if not first.any() or not second.any():
        return None
    common = np.count_nonzero(first & second)
    if common > min(np.count_nonzero(first), np.count_nonzero(second)) / 2:
        return None
    centres = [np.argwhere(mask).mean(axis=0) for mask in (first, second)]
    way: NDArray[np.float64] = centres[1] - centres[0]
    return way


def _moved(
    distance: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = ndimage.shift(
        distance, shift, order=1, mode="nearest", prefilter=False
    )
    return moved
