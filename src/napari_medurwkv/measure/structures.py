"""The full measurement of a mask: each class, or each object, with units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medurwkv.errors import GeometryError
from napari_medurwkv.measure.intensities import Intensities, measure_intensities
from napari_medurwkv.measure.shape import Shape, measure_shape, slice_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.geometry import Geometry

__all__ = ["StructureMeasure", "length_unit", "measure_structures"]

SMALL = 2**20
"""Values below are looked up in a table, which is far faster than a search."""


@dataclass(frozen=True, slots=True)
class StructureMeasure:
    """One class, or one object, measured.

    Attributes
    ----------
    value : int
        Its number in the mask.
    name : str
        Of the class.
    shape : Shape
        In `unit` and its powers.
    unit : str
        "mm", "um" or "px".
    solid : bool
        Whether it is 3D.
    slices : dict of int to float
        In 3D, area of each slice of the display order's first axis (axial where the
        image has anatomy, counted from below), in `unit`².
    intensities : Intensities or None
        Where a grey image was given and the structure is not empty.
    """

    value: int
    name: str
    shape: Shape
    unit: str
    solid: bool
    slices: dict[int, float]
    intensities: Intensities | None

    @property
    def ml(self) -> float | None:
        """Volume in mL; None in 2D and where no length is known."""
        return self.shape.size / 1000 if self.solid and self.unit == "mm" else None


def length_unit(geometry: Geometry) -> tuple[str, float]:
    """Return the unit that lengths are told in, and how many make one of the geometry.

    Returns
    -------
    unit : str
        "mm"; "um" for planes measured in micrometres or less; "px" where the voxel size
        is not known.
    factor : float
        Times a length in `Geometry.unit`.
    """
    if geometry.mm_per_unit is None or geometry.kind == "none":
        return "px", 1.0
    if geometry.ndim == 3 or geometry.unit == "mm":
        return "mm", geometry.mm_per_unit
    return "um", geometry.mm_per_unit * 1e3


def measure_structures(
    labels: NDArray[Any],
    geometry: Geometry,
    classes: Sequence[ClassInfo] = (),
    *,
    image: NDArray[Any] | None = None,
    instances: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[StructureMeasure, ...]:
    """Measure each class of a mask, or each of its objects.

    Parameters
    ----------
    labels : ndarray of int
        In display order of `geometry`.
    geometry : Geometry
        The mask's. Lengths follow its affine, also where that is tilted or sheared.
    classes : sequence of ClassInfo
        What the values mean. Classes that are not in the mask are listed with zeros;
        values that are no class, by their number.
    image : ndarray, optional
        One channel, in the same order.
    instances : bool
        The mask numbers objects of one class.
    progress : callable, optional
        Told how many structures are done, and of how many.

    Returns
    -------
    tuple of StructureMeasure
        Ascending by value, background apart.

    Raises
    ------
    GeometryError
        If the labels do not have the geometry's shape.
    """
    if labels.shape != geometry.display_shape:
        raise GeometryError(
            f"The mask has shape {labels.shape}, but its image is displayed as "
            f"{geometry.display_shape}: they do not belong together."
        )
    unit, factor = length_unit(geometry)
    columns = geometry.display_affine[:3, : geometry.ndim] * factor
    if unit == "px":
        columns = np.eye(geometry.ndim)
    names = _names(labels, classes, instances)
    measures = []
    for done, (value, box, inside) in enumerate(_structures(labels, list(names))):
        if progress is not None:
            progress(done, len(names))
        grey = None if image is None or box is None else image[box]
        slices = slice_sizes(inside, columns) if geometry.ndim == 3 else {}
        start = 0 if box is None else box[0].start
        measures.append(
            StructureMeasure(
                value=value,
                name=names[value],
                shape=measure_shape(inside, columns),
                unit=unit,
                solid=geometry.ndim == 3,
                slices={start + index: area for index, area in slices.items()},
                intensities=None if grey is None else measure_intensities(grey, inside),
            )
        )
    return tuple(measures)


def _names(
    labels: NDArray[Any], classes: Sequence[ClassInfo], instances: bool
) -> dict[int, str]:
    known = {info.value: info.name for info in classes if info.value != 0}
    values = [int(value) for value in np.unique(labels) if value != 0]
    if instances:
        name = next(iter(known.values()), "object")
        return {value: f"{name} {value}" for value in values}
    return {v: known.get(v, f"value {v}") for v in sorted({*known, *values})}


def _structures(
    labels: NDArray[Any], values: list[int]
) -> Iterator[tuple[int, tuple[slice, ...] | None, NDArray[np.bool_]]]:
    """Cut out each structure: its box in the mask, and what of the box is inside."""
    dense = _numbered(labels, values)
    boxes = ndimage.find_objects(dense, max_label=len(values))
    for number, (value, box) in enumerate(zip(values, boxes, strict=True), start=1):
        if box is None:
            yield value, None, np.zeros((1,) * labels.ndim, bool)
        else:
            yield value, box, dense[box] == number


def _numbered(labels: NDArray[Any], values: list[int]) -> NDArray[np.int32]:
    """Replace values by their ranks, from 1; 0 stays."""
    highest = max(values, default=0)
    if labels.dtype.kind == "u" and highest < SMALL:
        ranks = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        ranks[[v for v in values if v < len(ranks)]] = [
            rank for rank, v in enumerate(values, start=1) if v < len(ranks)
        ]
        return np.asarray(ranks[labels])
    dense = np.searchsorted(values, labels).astype(np.int32) + 1
    dense[labels == 0] = 0
    return dense
