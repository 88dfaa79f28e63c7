"""Islands: keep the largest, remove small ones, keep the picked one, split them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.correction.boxes import class_boxes
from napari_medurwkv.correction.components import (
    Connectivity,
    component_sizes,
    in_scan_order,
    label_components,
)
from napari_medurwkv.correction.watch import SILENT, Watch
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box

__all__ = ["keep_largest", "keep_picked", "remove_small", "split_islands"]


def keep_largest(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    classes: Sequence[int] | None = None,
    count: int = 1,
    connectivity: Connectivity = "faces",
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Keep the largest islands of each class; the others become background.

    Parameters
    ----------
    labels : ndarray of integers
        2D or 3D block of a mask.
    spacing : sequence of float, mm
        Voxel size per axis; all voxels are of one size, so it does not matter here.
    classes : sequence of int, optional
        Classes to treat; by default all but background.
    count : int
        Islands to keep per class. Of equal ones that which begins first is kept.
    connectivity : {"faces", "corners"}
        What holds an island together.
    watch : Watch
        Told of each class.

    Returns
    -------
    ndarray
        A new block.
    """
    if count < 1:
        raise CorrectionError("At least one island has to be kept; choose 1 or more.")
    after = labels.copy()
    found = _islands(labels, classes, connectivity, watch, ordered=False)
    for value, box, numbers, sizes in found:
        order = np.argsort(-sizes[1:], kind="stable") + 1
        if len(order) > count and sizes[order[count - 1]] == sizes[order[count]]:
            # Which of equal ones begins first has to be looked at.
            numbers, sizes = _by_first_voxel(numbers, len(sizes) - 1)
            order = np.argsort(-sizes[1:], kind="stable") + 1
        gone = np.ones(len(sizes), bool)
        gone[0] = False
        gone[order[:count]] = False
        _clear(after, value, box, numbers, gone)
    return after


def remove_small(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    smallest: float,
    unit: Literal["mm3", "voxels"] = "mm3",
    classes: Sequence[int] | None = None,
    connectivity: Connectivity = "faces",
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Remove islands that are smaller than a volume (2D: area) or number of voxels.

    Parameters
    ----------
    labels, spacing, classes, connectivity, watch
        As for `keep_largest`; the spacing turns the volume into voxels.
    smallest : float
        Islands of at least this size stay.
    unit : {"mm3", "voxels"}
        What `smallest` counts; "mm3" means mm² for a 2D block.

    Returns
    -------
    ndarray
        A new block.
    """
    one = math.prod(float(s) for s in spacing) if unit == "mm3" else 1.0
    after = labels.copy()
    found = _islands(labels, classes, connectivity, watch, ordered=False)
    for value, box, numbers, sizes in found:
        # The tolerance lets an island of exactly the size stay.
        gone = sizes * one < smallest * (1 - 1e-9)
        gone[0] = False
        _clear(after, value, box, numbers, gone)
    return after


def keep_picked(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    point: Sequence[int],
    connectivity: Connectivity = "faces",
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Keep of one class only the island at a point.

    Parameters
    ----------
    labels, spacing, connectivity, watch
        As for `keep_largest`.
    point : sequence of int
        Index into the block, on the island.

    Returns
    -------
    ndarray
        A new block.

    Raises
    ------
    CorrectionError
        If there is background at the point.
    """
    spot = tuple(int(p) for p in point)
    value = int(labels[spot])
    if value == 0:
        raise CorrectionError("There is no label at that point; pick an island.")
    after = labels.copy()
    for _, box, numbers, sizes in _islands(labels, (value,), connectivity, watch):
        inside = tuple(p - s.start for p, s in zip(spot, box, strict=True))
        gone = np.ones(len(sizes), bool)
        gone[[0, int(numbers[inside])]] = False
        _clear(after, value, box, numbers, gone)
    return after


def split_islands(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    value: int,
    new_values: Sequence[int] | None = None,
    smallest_voxels: int = 1,
    connectivity: Connectivity = "faces",
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Give each island of a class a label of its own, the largest the class's.

    Parameters
    ----------
    labels, spacing, connectivity, watch
        As for `keep_largest`.
    value : int
        The class.
    new_values : sequence of int, optional
        Labels for the second largest island and on; by default those that follow the
        highest label of the block.
    smallest_voxels : int
        Smaller islands keep the class's label.

    Returns
    -------
    ndarray
        A new block.

    Raises
    ------
    CorrectionError
        If there are more islands than labels that the type of the mask can hold.
    """
    after = labels.copy()
    for _, box, numbers, sizes in _islands(labels, (value,), connectivity, watch):
        order = np.argsort(-sizes[1:], kind="stable") + 1
        order = order[sizes[order] >= smallest_voxels]
        if len(order) < 2:
            continue
        fresh = _fresh_values(labels, len(order) - 1, new_values)
        table = np.full(len(sizes), value, labels.dtype)
        table[order[1:]] = fresh
        view = after[box]
        inside = numbers > 0
        view[inside] = table[numbers[inside]]
    return after


def _fresh_values(
    labels: NDArray[Any], wanted: int, given: Sequence[int] | None
) -> NDArray[Any]:
    if given is None:
        first = int(labels.max(initial=0)) + 1
        given = range(first, first + wanted)
    highest = int(np.iinfo(labels.dtype).max)
    if len(given) < wanted or (len(given) and max(given[:wanted]) > highest):
        raise CorrectionError(
            f"There are {wanted + 1} islands, more than labels are left for them; "
            "remove small islands first, or convert the layer to a larger type."
        )
    return np.asarray(given[:wanted], labels.dtype)


def _islands(
    labels: NDArray[Any],
    classes: Sequence[int] | None,
    connectivity: Connectivity,
    watch: Watch,
    *,
    ordered: bool = True,
) -> Iterator[tuple[int, Box, NDArray[np.int32], NDArray[np.int64]]]:
    boxes = class_boxes(labels, classes)
    for done, (value, box) in enumerate(boxes.items()):
        watch.at(done / len(boxes))
        numbers, count = label_components(
            labels[box] == value, connectivity, ordered=ordered
        )
        yield value, box, numbers, component_sizes(numbers, count)
    watch.at(1.0)


def _by_first_voxel(
    numbers: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    ordered, _ = in_scan_order(numbers, count)
    return ordered, component_sizes(ordered, count)


def _clear(
    after: NDArray[Any],
    value: int,
    box: Box,
    numbers: NDArray[np.int32],
    gone: NDArray[np.bool_],
) -> None:
    if gone.any():
        after[box][gone[numbers]] = 0
