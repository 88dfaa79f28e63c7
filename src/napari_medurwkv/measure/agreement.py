"""How far a mask agrees with a reference: Dice, IoU, aggregated Jaccard index."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from napari_medurwkv.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Agreement", "ClassAgreement", "aggregated_jaccard", "agreement"]

SMALL_TABLE = 2**16
"""Pairs of values up to which a full table is faster than a sparse one."""

SLAB_VALUES = 2**22
"""Voxels counted at once."""


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """Agreement on one class.

    Where neither mask holds the class both measures are 1, where one does both are 0.

    Attributes
    ----------
    value : int
        Its number in the masks.
    dice : float
        2 |P ∩ R| / (|P| + |R|).
    iou : float
        |P ∩ R| / |P ∪ R|.
    predicted, expected : float
        Volume or area in the prediction and in the reference: voxels, times the size of
        one where the spacing was given.
    """

    value: int
    dice: float
    iou: float
    predicted: float
    expected: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two masks.

    Attributes
    ----------
    classes : tuple of ClassAgreement
        For each class other than background, ascending; for instance maps one entry,
        with value 1, for all objects together.
    aji : float or None
        Aggregated Jaccard index of instance maps.
    """

    classes: tuple[ClassAgreement, ...]
    aji: float | None = None

    @property
    def mean_dice(self) -> float:
        """Mean over the classes; 1 where there is none."""
        return float(np.mean([c.dice for c in self.classes])) if self.classes else 1.0


def agreement(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float] | None = None,
    *,
    values: Sequence[int] | None = None,
    instances: bool = False,
) -> Agreement:
    """Compare a mask with a reference on the same grid.

    Parameters
    ----------
    prediction, reference : ndarray of int
        Masks of the same shape.
    spacing : sequence of float, optional
        Voxel size per axis, for the volumes.
    values : sequence of int, optional
        Classes to compare; by default all that occur in either mask, without 0.
    instances : bool
        The masks number objects: compare all objects together as foreground, and
        compute the aggregated Jaccard index.

    Returns
    -------
    Agreement

    Raises
    ------
    GeometryError
        If the shapes differ, or the spacing has another number of axes.
    """
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"The masks have different shapes, {prediction.shape} and "
            f"{reference.shape}; bring them to one grid first."
        )
    if spacing is not None and len(spacing) != prediction.ndim:
        raise GeometryError(
            f"The spacing has {len(spacing)} numbers, the masks {prediction.ndim} axes."
        )
    size = 1.0 if spacing is None else math.prod(float(s) for s in spacing)
    table = _contingency(prediction, reference)
    if instances:
        both = int(table.common[(table.first != 0) & (table.second != 0)].sum())
        p = int(table.common[table.first != 0].sum())
        r = int(table.common[table.second != 0].sum())
        return Agreement((_compare(1, both, p, r, size),), _aji(table))
    if values is None:
        values = sorted({*table.first.tolist(), *table.second.tolist()} - {0})
    classes = []
    for value in values:
        p_rows, r_rows = table.first == value, table.second == value
        both = int(table.common[p_rows & r_rows].sum())
        p, r = int(table.common[p_rows].sum()), int(table.common[r_rows].sum())
        classes.append(_compare(int(value), both, p, r, size))
    return Agreement(tuple(classes))


def aggregated_jaccard(prediction: NDArray[Any], reference: NDArray[Any]) -> float:
    """Compute the aggregated Jaccard index of two instance maps.

    Each reference object is joined with the predicted object of the largest IoU; the
    index is the sum of their intersections over the sum of their unions, to which all
    predicted objects that were joined with none are added.

    Parameters
    ----------
    prediction, reference : ndarray of int
        Object numbers, 0 is background; same shape.

    Returns
    -------
    float
        0 to 1; 1 where both are empty, 0 where one is.

    References
    ----------
    Kumar et al., "A Dataset and a Technique for Generalized Nuclear Segmentation for
    Computational Pathology", IEEE Transactions on Medical Imaging 36 (2017).
    """
    aji = agreement(prediction, reference, instances=True).aji
    if aji is None:
        raise ValueError("instance maps have an aggregated Jaccard index")
    return aji


@dataclass(frozen=True, slots=True)
class _Contingency:
    """How many voxels each pair of values that occurs has."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    common: NDArray[np.int64]


def _contingency(first: NDArray[Any], second: NDArray[Any]) -> _Contingency:
    first_values, a = _dense(first)
    second_values, b = _dense(second)
    width = len(second_values)
    if len(first_values) * width <= SMALL_TABLE:
        table = np.zeros(len(first_values) * width, np.int64)
        for start in range(0, a.size, SLAB_VALUES):
            part = slice(start, start + SLAB_VALUES)
            pair = a[part].astype(np.int64) * width + b[part]
            table += np.bincount(pair, minlength=len(table))
        pairs = np.flatnonzero(table)
        return _Contingency(
            first_values[pairs // width], second_values[pairs % width], table[pairs]
        )
    counts = sparse.coo_array(
        (np.ones(a.size, np.int64), (a, b)),
        shape=(len(first_values), width),
    ).tocsr()
    counts.sum_duplicates()
    found = counts.tocoo()
    return _Contingency(first_values[found.row], second_values[found.col], found.data)


def _dense(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the values, and for each voxel the index of its own."""
    flat = labels.ravel()
    if flat.size and flat.dtype.kind in "iu" and 0 <= flat.min() <= flat.max() < 2**20:
        return np.arange(int(flat.max()) + 1), flat
    values, index = np.unique(flat, return_inverse=True)
    return values.astype(np.int64), index


def _compare(value: int, both: int, p: int, r: int, size: float) -> ClassAgreement:
    dice = 2 * both / (p + r) if p + r else 1.0
    iou = both / (p + r - both) if p + r else 1.0
    return ClassAgreement(value, dice, iou, p * size, r * size)


def _aji(table: _Contingency) -> float:
    predicted = _areas(table.first, table.common)
    expected = _areas(table.second, table.common)
    if not predicted or not expected:
        return 1.0 if not predicted and not expected else 0.0
    best: dict[int, tuple[float, int, int, int]] = {}
    for p, r, common in zip(
        table.first.tolist(), table.second.tolist(), table.common.tolist(), strict=True
    ):
        if p == 0 or r == 0:
            continue
        union = predicted[p] + expected[r] - common
        # Of equal ones the first predicted number counts, whatever the order here.
        rank = (common / union, -p, common, union)
        if r not in best or rank > best[r]:
            best[r] = rank
    common = sum(c for _, _, c, _ in best.values())
    union = sum(u for _, _, _, u in best.values())
    union += sum(area for r, area in expected.items() if r not in best)
    joined = {-p for _, p, _, _ in best.values()}
    union += sum(area for p, area in predicted.items() if p not in joined)
    return common / union


def _areas(values: NDArray[np.int64], common: NDArray[np.int64]) -> dict[int, int]:
    objects, index = np.unique(values, return_inverse=True)
    areas = np.bincount(index, weights=common).astype(np.int64)
    return {int(o): int(n) for o, n in zip(objects, areas, strict=True) if o != 0}
