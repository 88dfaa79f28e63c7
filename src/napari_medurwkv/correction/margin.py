"""Grow, shrink and hollow classes by millimetres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_medurwkv.correction.balls import LONGER, dilate, erode
from napari_medurwkv.correction.boxes import class_boxes, pad_box, voxels_for
from napari_medurwkv.correction.watch import SILENT, Watch
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box

__all__ = ["grow", "hollow", "shrink"]


def grow(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    mm: float,
    classes: Sequence[int] | None = None,
    over: Sequence[int] = (0,),
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Grow classes in all directions.

    Parameters
    ----------
    labels : ndarray of integers
        2D or 3D block of a mask.
    spacing : sequence of float, mm
        Voxel size per axis.
    mm : float
        How far: voxels whose centre lies within this distance of a centre of the class.
    classes : sequence of int, optional
        Classes to grow; by default all but background. What several reach goes to the
        nearest, and to the lower one where two are equally near.
    over : sequence of int
        Values that may be overwritten; by default only background.
    watch : Watch
        Told of each class.

    Returns
    -------
    ndarray
        A new block.
    """
    _check_length(mm)
    after = labels.copy()
    boxes = class_boxes(labels, classes)
    reach = voxels_for(mm * LONGER, spacing)
    claimed = np.zeros(labels.shape, bool) if len(boxes) > 1 else None
    contested: list[NDArray[np.int64]] = []
    for done, (value, tight) in enumerate(boxes.items()):
        watch.at(done / (len(boxes) + 1))
        box = pad_box(tight, reach, labels.shape)
        part = labels[box]
        reached = dilate(part == value, mm, spacing)
        reached &= _may_overwrite(part, over)
        reached &= part != value
        if claimed is None:
            after[box][reached] = value
            continue
        before = claimed[box]
        fresh = reached & ~before
        after[box][fresh] = value
        both = np.argwhere(reached & before)
        if len(both):
            contested.append(both + [s.start for s in box])
        before |= reached
    if contested:
        watch.at(len(boxes) / (len(boxes) + 1))
        points = np.unique(np.concatenate(contested), axis=0)
        _settle(after, labels, boxes, points, mm, spacing)
    watch.at(1.0)
    return after


def shrink(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    mm: float,
    classes: Sequence[int] | None = None,
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Shrink classes from everything that they touch; what they lose is background.

    Parameters
    ----------
    labels, spacing, classes, watch
        As for `grow`.
    mm : float
        Voxels of a class go if the centre of a voxel of anything else lies within this
        distance. The border of the block is no surface.

    Returns
    -------
    ndarray
        A new block.
    """
    _check_length(mm)
    after = labels.copy()
    boxes = class_boxes(labels, classes)
    for done, (value, tight) in enumerate(boxes.items()):
        watch.at(done / len(boxes))
        box = pad_box(tight, (1,) * labels.ndim, labels.shape)
        mask = labels[box] == value
        after[box][mask & ~erode(mask, mm, spacing)] = 0
    watch.at(1.0)
    return after


def hollow(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    mm: float,
    classes: Sequence[int] | None = None,
    shell: Literal["inside", "outside", "middle"] = "inside",
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Replace classes by a shell of a thickness.

    Parameters
    ----------
    labels, spacing, classes, watch
        As for `grow`.
    mm : float
        Thickness of the shell.
    shell : {"inside", "outside", "middle"}
        Where the present surface lies: outside of the shell, inside of it, or in its
        middle. Outer shells grow into background only.

    Returns
    -------
    ndarray
        A new block.
    """
    _check_length(mm)
    inwards = {"inside": mm, "outside": 0.0, "middle": mm / 2}[shell]
    outwards = mm - inwards
    after = labels.copy()
    if outwards > 0:
        after = grow(
            labels, spacing, mm=outwards, classes=classes, watch=watch.part(0, 2)
        )
    boxes = class_boxes(labels, classes)
    for done, (value, tight) in enumerate(boxes.items()):
        watch.part(1, 2).at(done / len(boxes))
        box = pad_box(tight, (1,) * labels.ndim, labels.shape)
        mask = labels[box] == value
        core = erode(mask, inwards, spacing) if inwards > 0 else mask
        after[box][core] = 0
    watch.at(1.0)
    return after


def _check_length(mm: float) -> None:
    if not mm > 0:
        raise CorrectionError("The distance has to be more than 0 mm.")


def _may_overwrite(part: NDArray[Any], over: Sequence[int]) -> NDArray[np.bool_]:
    if tuple(over) == (0,):
        empty: NDArray[np.bool_] = part == 0
        return empty
    return np.isin(part, np.asarray(over))


def _inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of which all neighbours are true; none that touches the border."""
    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask)
    return inner


def _settle(
    after: NDArray[Any],
    labels: NDArray[Any],
    boxes: dict[int, Box],
    points: NDArray[np.int64],
    mm: float,
    spacing: Sequence[float],
) -> None:
    """Give points that several classes reach to the nearest of them."""
    sizes = np.asarray(spacing, float)
    best = np.full(len(points), np.inf)
    winner = np.zeros(len(points), labels.dtype)
    for value, tight in boxes.items():
        box = pad_box(tight, (1,) * labels.ndim, labels.shape)
        mask = labels[box] == value
        surface = np.argwhere(mask & ~_inner(mask))
        surface += [s.start for s in box]
        tree = cKDTree(surface * sizes)
        away, _ = tree.query(points * sizes, distance_upper_bound=mm * LONGER * 1.001)
        nearer = away < best * (1 - 1e-9)
        best[nearer] = away[nearer]
        winner[nearer] = value
    settled = np.isfinite(best)
    after[tuple(points[settled].T)] = winner[settled]
