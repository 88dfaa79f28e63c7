"""Volume or area of each class of a mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.geometry import Geometry

__all__ = [
    "ClassMeasure",
    "class_counts",
    "class_measures",
    "measures_from_counts",
    "object_measure",
]

SLAB_VALUES = 2**22
"""Values counted at once: bincount makes 64-bit copies of what it counts."""


@dataclass(frozen=True, slots=True)
class ClassMeasure:
    """How much of one class there is.

    Attributes
    ----------
    value : int
        Its number in the mask.
    name, color : str
        As the card gives them.
    voxels : int
        Voxels, or pixels in 2D.
    size : float
        Volume or area in `unit`.
    unit : str
        "mL" in 3D and "mm²" in 2D where the voxel size is known ("µm²" where it is
        given in micrometres or less); else "px".
    components : int or None
        Separate objects, where they were counted.
    """

    value: int
    name: str
    color: str
    voxels: int
    size: float
    unit: str
    components: int | None = None


def class_counts(labels: Any, classes: Sequence[ClassInfo]) -> NDArray[np.int64]:
    """Count the voxels of each class.

    Counts of parts of a mask add up to those of the whole, so a mask that fills in
    region by region needs to be counted only once.

    Parameters
    ----------
    labels : array-like of int
        A mask or a part of it; read in slabs along its first axis, so it may be lazy.
    classes : sequence of ClassInfo
        Classes to count; other values are passed over.

    Returns
    -------
    ndarray of int64, shape (len(classes),)
    """
    values = np.array([c.value for c in classes], np.int64)
    counts = np.zeros(int(values.max(initial=0)) + 1, np.int64)
    row = max(1, math.prod(labels.shape[1:]))
    thickness = max(1, SLAB_VALUES // row)
    for first in range(0, labels.shape[0], thickness):
        slab = np.asarray(labels[first : first + thickness]).ravel()
        if slab.dtype != np.uint8:
            slab = slab[(slab >= 0) & (slab < len(counts))]
        found = np.bincount(slab, minlength=len(counts))
        counts += found[: len(counts)]
    return counts[values]


def measures_from_counts(
    counts: NDArray[np.int64], geometry: Geometry, classes: Sequence[ClassInfo]
) -> tuple[ClassMeasure, ...]:
    """Turn voxel counts into volumes or areas, background apart.

    Parameters
    ----------
    counts : ndarray of int64
        From `class_counts`, in the order of `classes`.
    geometry : Geometry
        The mask's.
    classes : sequence of ClassInfo
        The same as for the counts.

    Returns
    -------
    tuple of ClassMeasure
    """
    one, unit = _voxel(geometry)
    return tuple(
        ClassMeasure(c.value, c.name, c.color, int(n), int(n) * one, unit)
        for c, n in zip(classes, counts, strict=True)
        if c.value != 0
    )


def class_measures(
    labels: Any, geometry: Geometry, classes: Sequence[ClassInfo]
) -> tuple[ClassMeasure, ...]:
    """Measure each class of a mask, background apart.

    Parameters
    ----------
    labels : array-like of int
        Class values in any axis order; may be lazy.
    geometry : Geometry
        The mask's.
    classes : sequence of ClassInfo
        What the values mean.

    Returns
    -------
    tuple of ClassMeasure
    """
    return measures_from_counts(class_counts(labels, classes), geometry, classes)


def object_measure(labels: Any, geometry: Geometry, info: ClassInfo) -> ClassMeasure:
    """Measure a mask of object numbers as one class, and count its objects.

    Parameters
    ----------
    labels : array-like of int
        0 is background, every other value one object; may be lazy.
    geometry : Geometry
        The mask's.
    info : ClassInfo
        What the objects are.

    Returns
    -------
    ClassMeasure
        With `components`.
    """
    voxels = 0
    present: set[int] = set()
    row = max(1, math.prod(labels.shape[1:]))
    thickness = max(1, SLAB_VALUES // row)
    for first in range(0, labels.shape[0], thickness):
        slab = np.asarray(labels[first : first + thickness])
        objects = slab[slab != 0]
        voxels += objects.size
        present.update(np.unique(objects).tolist())
    one, unit = _voxel(geometry)
    return ClassMeasure(
        info.value, info.name, info.color, voxels, voxels * one, unit, len(present)
    )


def _voxel(geometry: Geometry) -> tuple[float, str]:
    """Size of one voxel, and its unit."""
    if geometry.mm_per_unit is None or geometry.kind == "none":
        return 1.0, "px"
    size = geometry.voxel_volume
    if geometry.ndim == 3:
        return size / 1000, "mL"
    if geometry.unit == "mm":
        return size, "mm²"
    return size * 1e6, "µm²"
