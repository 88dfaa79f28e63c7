"""Fill holes, in the volume or slice by slice, up to a size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.correction.boxes import class_boxes, pad_box
from napari_medurwkv.correction.components import component_sizes, label_components
from napari_medurwkv.correction.watch import SILENT, Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["fill_holes"]


def fill_holes(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    classes: Sequence[int] | None = None,
    largest: float | None = None,
    unit: Literal["mm3", "voxels"] = "mm3",
    per_slice: int | None = None,
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Fill the background that a class encloses.

    A hole of a class is a part of everything else that does not reach the border of the
    block. Only its background is filled: a lesion inside an organ stays a lesion. What
    two classes enclose goes to the lower one.

    Parameters
    ----------
    labels : ndarray of integers
        2D or 3D block of a mask.
    spacing : sequence of float, mm
        Voxel size per axis.
    classes : sequence of int, optional
        Classes to treat; by default all but background.
    largest : float, optional
        Holes of which more than this would have to be filled stay open; by default all
        are filled.
    unit : {"mm3", "voxels"}
        What `largest` counts; "mm3" means mm² in 2D and slice by slice.
    per_slice : int, optional
        Axis across which slices are treated one by one; by default holes are closed in
        all directions.
    watch : Watch
        Told of each class.

    Returns
    -------
    ndarray
        A new block.
    """
    after = labels.copy()
    boxes = class_boxes(labels, classes)
    one = 1.0
    if unit == "mm3":
        one = math.prod(float(s) for i, s in enumerate(spacing) if i != per_slice)
    for done, (value, tight) in enumerate(boxes.items()):
        watch.at(done / len(boxes))
        margin = [0 if axis == per_slice else 1 for axis in range(labels.ndim)]
        box = pad_box(tight, margin, labels.shape)
        part = labels[box]
        numbers, count = label_components(
            part != value, per_slice=per_slice, ordered=False
        )
        if count == 0:
            continue
        hole = np.ones(count + 1, bool)
        hole[0] = False
        for axis in range(labels.ndim):
            if axis == per_slice:
                continue
            for end in (0, -1):
                hole[np.unique(np.take(numbers, end, axis))] = False
        if not hole.any():
            continue
        to_fill = hole[numbers] & (part == 0)
        if largest is not None:
            numbers[~to_fill] = 0
            sizes = component_sizes(numbers, count) * one
            small = sizes <= largest * (1 + 1e-9)
            small[0] = False
            to_fill &= small[numbers]
        view = after[box]
        view[to_fill & (view == 0)] = value
    watch.at(1.0)
    return after
