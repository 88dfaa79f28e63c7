"""Boxes of an array: the parts that tools look at, so that nothing else costs time."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Box",
    "Tile",
    "box_shape",
    "class_boxes",
    "full_box",
    "mask_box",
    "pad_box",
    "shift_box",
    "tiles",
    "union_box",
    "voxels_for",
]

Box = tuple[slice, ...]
"""One slice with start and stop per axis."""


class Tile(NamedTuple):
    """A part of an array, the same with its surroundings, and the part within those."""

    core: Box
    context: Box
    inner: Box


_LARGEST_DENSE_VALUE = 4096


def full_box(shape: Sequence[int]) -> Box:
    """Return the box of a whole array."""
    return tuple(slice(0, int(n)) for n in shape)


def box_shape(box: Box) -> tuple[int, ...]:
    """Return the shape of a box."""
    return tuple(s.stop - s.start for s in box)


def pad_box(box: Box, margin: Sequence[int], shape: Sequence[int]) -> Box:
    """Widen a box on every side, as far as the array goes."""
    return tuple(
        slice(max(0, s.start - m), min(n, s.stop + m))
        for s, m, n in zip(box, margin, shape, strict=True)
    )


def shift_box(box: Box, origin: Sequence[int]) -> Box:
    """Move a box by an offset per axis."""
    return tuple(
        slice(s.start + int(o), s.stop + int(o))
        for s, o in zip(box, origin, strict=True)
    )


def union_box(boxes: Iterable[Box]) -> Box | None:
    """Return the smallest box around boxes; None for none."""
    merged: Box | None = None
    for box in boxes:
        merged = (
            box
            if merged is None
            else tuple(
                slice(min(a.start, b.start), max(a.stop, b.stop))
                for a, b in zip(merged, box, strict=True)
            )
        )
    return merged


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the smallest box around the true voxels; None where there are none."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        part = mask[tuple(box)]
        others = tuple(a for a in range(mask.ndim) if a != axis)
        found = np.flatnonzero(part.any(axis=others))
        if not found.size:
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def class_boxes(
    labels: NDArray[Any], classes: Sequence[int] | None = None
) -> dict[int, Box]:
    """Find the box of every class.

    Parameters
    ----------
    labels : ndarray of integers
        The mask.
    classes : sequence of int, optional
        Classes to look for; by default all that occur, background (0) apart.

    Returns
    -------
    dict
        From class, ascending, to its box; classes that do not occur are left out.
    """
    wanted = None if classes is None else {int(c) for c in classes}
    if wanted is not None and (0 in wanted or len(wanted) == 1):
        found = {c: mask_box(labels == c) for c in sorted(wanted)}
        return {c: box for c, box in found.items() if box is not None}
    highest = int(labels.max(initial=0))
    if highest > _LARGEST_DENSE_VALUE or int(labels.min(initial=0)) < 0:
        values, index = np.unique(labels, return_inverse=True)
        dense = ndimage.find_objects(index.reshape(labels.shape) + 1)
        pairs = [(int(v), b) for v, b in zip(values, dense, strict=True)]
    else:
        dense = ndimage.find_objects(labels, max_label=highest)
        pairs = [(v, b) for v, b in enumerate(dense, 1)]
    return {
        value: box
        for value, box in pairs
        if box is not None and value != 0 and (wanted is None or value in wanted)
    }


def voxels_for(length: float, spacing: Sequence[float]) -> tuple[int, ...]:
    """Return how many whole voxels a length in mm spans along each axis."""
    return tuple(math.floor(length / s * (1 + 1e-6)) for s in spacing)


def tiles(shape: Sequence[int], halo: Sequence[int], edge: int) -> list[Tile]:
    """Cut an array into tiles.

    Parameters
    ----------
    shape : sequence of int
        Of the array.
    halo : sequence of int
        Voxels that the neighbourhood needs on either side, per axis.
    edge : int
        Of a tile, in voxels; at least the halo is taken.

    Returns
    -------
    list of Tile
    """
    ranges = []
    for n, h in zip(shape, halo, strict=True):
        step = max(edge, h)
        ranges.append([slice(k, min(k + step, n)) for k in range(0, n, step)])
    found = []
    for core in product(*ranges):
        context = pad_box(core, halo, shape)
        inner = tuple(
            slice(c.start - w.start, c.stop - w.start)
            for c, w in zip(core, context, strict=True)
        )
        found.append(Tile(core, context, inner))
    return found
