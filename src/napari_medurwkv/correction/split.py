"""Split an object in two: along a drawn line, or at its waists by a watershed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.draw import line as draw_line
from skimage.segmentation import watershed

from napari_medurwkv.correction.boxes import mask_box, pad_box
from napari_medurwkv.correction.components import label_components
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box

__all__ = ["split_at_waists", "split_by_line"]


def split_by_line(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    points: Sequence[Sequence[float]],
    axis: int | None,
    new_value: int,
) -> NDArray[Any]:
    """Cut the object under a line and give its smaller part a label of its own.

    Parameters
    ----------
    labels : ndarray of integers
        2D block, or 3D block that is cut straight through along `axis`.
    spacing : sequence of float, mm
        Voxel size per axis.
    points : sequence of (row, column)
        Corners of the drawn line, in voxels of the plane across `axis`.
    axis : int or None
        Axis along which the cut goes; None for a 2D block.
    new_value : int
        Label of the smaller parts.

    Returns
    -------
    ndarray
        A new block. Voxels of the line itself go to the nearer part.

    Raises
    ------
    CorrectionError
        If the line crosses no object, or does not cut through one.
    """
    _check_value(labels, new_value)
    plane_shape = tuple(n for i, n in enumerate(labels.shape) if i != axis)
    wall2d = _wall(points, plane_shape)
    wall = np.broadcast_to(
        wall2d if axis is None else np.expand_dims(wall2d, axis), labels.shape
    )
    crossed = labels[wall]
    crossed = crossed[crossed != 0]
    if not crossed.size:
        raise CorrectionError("The line crosses no label; draw it over an object.")
    value = int(np.bincount(crossed.astype(np.int64)).argmax())
    objects, _ = label_components(labels == value)
    touched = np.unique(objects[wall & (objects > 0)])
    after = labels.copy()
    cut = False
    for number in touched:
        own = objects == number
        box = mask_box(own)
        if box is not None and _cut_one(after, own, wall, box, spacing, new_value):
            cut = True
    if not cut:
        raise CorrectionError(
            "The line does not cut through the object; draw it from outside to outside."
        )
    return after


def split_at_waists(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    value: int,
    new_values: Sequence[int] | None = None,
    smallest_mm: float = 2.0,
) -> NDArray[Any]:
    """Split touching objects of a class where they are narrow.

    The distance to the surface is flooded from its maxima; two maxima belong to one
    object unless a waist between them is narrower than both by `smallest_mm`.

    Parameters
    ----------
    labels : ndarray of integers
        2D or 3D block of a mask.
    spacing : sequence of float, mm
        Voxel size per axis.
    value : int
        The class.
    new_values : sequence of int, optional
        Labels for all parts but the largest; by default those that follow the highest
        label of the block.
    smallest_mm : float
        By how much the half-width has to shrink at a waist.

    Returns
    -------
    ndarray
        A new block; unchanged where there is no waist.

    Raises
    ------
    CorrectionError
        If there are more parts than labels for them.
    """
    mask = labels == value
    box = mask_box(mask)
    after = labels.copy()
    if box is None:
        return after
    part = np.pad(mask[box], 1)
    depth = ndimage.distance_transform_edt(part, sampling=spacing)
    markers, count = _dynamics(depth, part, smallest_mm)
    if count < 2:
        return after
    flooded = watershed(-depth, markers, mask=part)[(slice(1, -1),) * part.ndim]
    sizes = np.bincount(flooded.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable") + 1
    if new_values is None:
        first = int(labels.max()) + 1
        new_values = range(first, first + count - 1)
    if len(new_values) < count - 1:
        raise CorrectionError(
            f"The object falls into {count} parts, and there are too few labels."
        )
    for number, fresh in zip(order[1:], new_values, strict=False):
        _check_value(labels, int(fresh))
        after[box][flooded == number] = fresh
    return after


def _dynamics(
    depth: NDArray[np.float64], mask: NDArray[np.bool_], height: float
) -> tuple[NDArray[np.int32], int]:
    """Label the maxima that stand at least `height` above the way to a higher one."""
    from skimage.morphology import reconstruction

    least = min(height, float(depth.max())) * (1 - 1e-6)
    peaks = np.zeros(mask.shape, bool)
    # Objects do not see each other, and what is thinner than a waist has no maximum
    # that counts: so the costly part looks at few boxes.
    objects, _ = label_components(mask, "corners")
    for number, box in enumerate(ndimage.find_objects(objects), 1):
        if depth[box][objects[box] == number].max() < least:
            continue
        near = pad_box(box, (1,) * mask.ndim, mask.shape)
        own = objects[near] == number
        part = np.where(own, depth[near], 0)
        lowered = reconstruction(np.maximum(part - height, 0), part, method="dilation")
        # What reconstruction cannot bring back stands out by itself.
        peaks[near] |= (part - lowered >= least) & own
    return label_components(peaks, "corners")


def _wall(points: Sequence[Sequence[float]], shape: tuple[int, ...]) -> Any:
    """Draw a line through corners, thick enough that no diagonal step slips through."""
    if len(points) < 2:
        raise CorrectionError("A line needs two points; draw it over the object.")
    wall = np.zeros(shape, bool)
    for (r0, c0), (r1, c1) in pairwise(points):
        rows, columns = draw_line(round(r0), round(c0), round(r1), round(c1))
        keep = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        wall[rows[keep], columns[keep]] = True
    return wall


def _cut_one(
    after: NDArray[Any],
    own: NDArray[np.bool_],
    wall: NDArray[np.bool_],
    box: Box,
    spacing: Sequence[float],
    new_value: int,
) -> bool:
    mask, line = own[box], wall[box]
    rest, count = label_components(mask & ~line)
    if count < 2:
        return False
    sizes = np.bincount(rest.ravel(), minlength=count + 1)
    sizes[0] = 0
    sides = rest != 0
    # Voxels under the line join the part that is nearest in mm.
    nearest = ndimage.distance_transform_edt(
        ~sides, sampling=spacing, return_distances=False, return_indices=True
    )
    joined = rest[tuple(nearest)]
    after[box][mask & (joined != int(sizes.argmax()))] = new_value
    return True


def _check_value(labels: NDArray[Any], value: int) -> None:
    if not 0 <= value <= np.iinfo(labels.dtype).max:
        raise CorrectionError(
            f"A mask of type {labels.dtype} cannot hold the label {value}; convert the "
            "layer to a larger type first."
        )
