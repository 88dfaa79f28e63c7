"""Everything that is told of two masks: per class, and the mean over the classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.measure.agreement import ClassAgreement, agreement
from napari_medurwkv.measure.lesions import LesionAgreement, lesion_agreement
from napari_medurwkv.measure.surfaces import (
    SurfaceAgreement,
    bounding_box,
    surface_agreement,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["MEASURES", "Comparison", "ComparisonRow", "compare"]

MEASURES: dict[str, str] = {
    "dice": "2 |P ∩ R| / (|P| + |R|); 1 where both are empty",
    "iou": "|P ∩ R| / |P ∪ R|; 1 where both are empty",
    "hd95": "larger of the two directed 95th percentiles of boundary distances "
    "(MONAI's); none where a mask is empty",
    "nsd": "share of both surfaces, by area, within the tolerance of the other "
    "(MONAI's with use_subvoxels); 0 where one mask is empty, none where both are",
    "assd": "mean of all boundary distances of both directions; none where a mask is "
    "empty",
    "lesion_f1": "2 found / (2 found + missed + invented); none where both are empty",
}
"""Measures that are averaged, and what each means."""


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """All measures of one class.

    Attributes
    ----------
    overlap : ClassAgreement
        Dice, IoU and sizes.
    surface : SurfaceAgreement
        Distances and surface Dice.
    lesions : LesionAgreement
        Counts.
    """

    overlap: ClassAgreement
    surface: SurfaceAgreement
    lesions: LesionAgreement

    @property
    def values(self) -> dict[str, float]:
        """The numbers of `MEASURES`."""
        return {
            "dice": self.overlap.dice,
            "iou": self.overlap.iou,
            "hd95": self.surface.hd95,
            "nsd": self.surface.nsd,
            "assd": self.surface.assd,
            "lesion_f1": self.lesions.f1,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two masks compared.

    Attributes
    ----------
    rows : tuple of ComparisonRow
        One a class, ascending.
    aji : float or None
        Aggregated Jaccard index, where the masks number objects.
    tolerance : float
        Of the surface Dice.
    """

    rows: tuple[ComparisonRow, ...]
    aji: float | None
    tolerance: float

    def mean(self, measure: str) -> float:
        """Average one of `MEASURES` over the classes that have it; nan where none has.

        Raises
        ------
        KeyError
            If it is none of them.
        """
        finite = self._finite(measure)
        return float(np.mean(finite)) if finite else math.nan

    def counted(self, measure: str) -> int:
        """Return how many classes have a finite value of a measure."""
        return len(self._finite(measure))

    def _finite(self, measure: str) -> list[float]:
        values: Iterable[float] = (row.values[measure] for row in self.rows)
        return [value for value in values if math.isfinite(value)]


def compare(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: ArrayLike,
    *,
    tolerance: float = 1.0,
    values: Sequence[int] | None = None,
    instances: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare a mask with a reference on the same grid, in every way.

    Parameters
    ----------
    prediction, reference : ndarray of int
        Masks of the same shape.
    spacing : sequence of float, or (m, ndim) array_like
        Voxel size per axis, or the columns of the grid's affine.
    tolerance : float
        Of the surface Dice, in the unit of the spacing.
    values : sequence of int, optional
        Classes to compare; by default all that occur in either mask, without 0.
    instances : bool
        The masks number objects: compare them together as foreground, compute the
        aggregated Jaccard index, and count the numbered objects as lesions are.
    progress : callable, optional
        Told how many classes are done, and of how many.

    Returns
    -------
    Comparison

    Raises
    ------
    GeometryError
        If the shapes differ, or the spacing does not fit.
    """
    sizes = np.asarray(spacing, np.float64)
    if sizes.ndim == 2:
        sizes = np.linalg.norm(sizes, axis=0)
    overlaps = agreement(
        prediction, reference, sizes.tolist(), values=values, instances=instances
    )
    rows = []
    for done, overlap in enumerate(overlaps.classes):
        if progress is not None:
            progress(done, len(overlaps.classes))
        if instances:
            p, r = prediction != 0, reference != 0
        else:
            p, r = prediction == overlap.value, reference == overlap.value
        box = bounding_box(p | r) or (slice(0, 1),) * p.ndim
        p, r = p[box], r[box]
        surface = surface_agreement(p, r, spacing, tolerance=tolerance)
        lesions = (
            _object_counts(prediction[box], reference[box])
            if instances
            else lesion_agreement(p, r)
        )
        rows.append(ComparisonRow(overlap, surface, lesions))
    return Comparison(tuple(rows), overlaps.aji, tolerance)


def _object_counts(
    prediction: NDArray[Any], reference: NDArray[Any]
) -> LesionAgreement:
    """Count numbered objects as lesions are counted: by their numbers."""
    both = (prediction != 0) & (reference != 0)
    expected = len(np.unique(reference[reference != 0]))
    predicted = len(np.unique(prediction[prediction != 0]))
    found = len(np.unique(reference[both]))
    invented = predicted - len(np.unique(prediction[both]))
    return LesionAgreement(expected, predicted, found, expected - found, invented)
