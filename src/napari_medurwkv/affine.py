"""Small facts about voxel-to-world matrices."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["closest_axes", "is_singular", "spanned_volume", "with_normal"]


def spanned_volume(columns: NDArray[np.float64]) -> float:
    """Size spanned by vectors: the area of two, the volume of three.

    Parameters
    ----------
    columns : (3, 2) or (3, 3) ndarray
        One vector a column.
    """
    if columns.shape[1] == 2:
        return float(np.linalg.norm(np.cross(columns[:, 0], columns[:, 1])))
    return float(abs(np.linalg.det(columns)))


def is_singular(columns: NDArray[np.float64]) -> bool:
    """Whether vectors span nothing: one is zero, or they (all but) coincide.

    Parameters
    ----------
    columns : (3, 2) or (3, 3) ndarray
        One vector a column.
    """
    lengths = float(np.prod(np.linalg.norm(columns, axis=0)))
    return spanned_volume(columns) <= 1e-6 * lengths


def with_normal(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give a plane whose matrix states no useful third axis a normal of length 1.

    Parameters
    ----------
    affine : (4, 4) ndarray
        Index to world.

    Returns
    -------
    (4, 4) ndarray
        The same matrix, or one with the third column filled in.
    """
    if not is_singular(affine[:3, :3]):
        return affine
    full = affine.copy()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    full[:3, 2] = normal / np.linalg.norm(normal)
    return full


def closest_axes(affine: NDArray[np.float64], ndim: int) -> tuple[tuple[int, int], ...]:
    """Find the closest world axis and its sign for each index axis.

    Of all assignments the one whose directions deviate least: the largest sum of
    cosines. Unlike a choice axis by axis it does not depend on the axes' order, which
    matters for grids near 45 degrees.

    Parameters
    ----------
    affine : (4, 4) ndarray
        Index to RAS; not singular.
    ndim : int
        How many index axes to tell, 2 or 3.

    Returns
    -------
    tuple of (int, int)
        Per index axis: 0 for the right-left, 1 for the back-front, 2 for the foot-head
        axis; +1 where the index grows to R, A or S.
    """
    columns = affine[:3, :ndim]
    cosines = columns / np.linalg.norm(columns, axis=0)
    best = max(
        permutations(range(3), ndim),
        key=lambda worlds: sum(abs(cosines[w, i]) for i, w in enumerate(worlds)),
    )
    return tuple(
        (world, 1 if cosines[world, axis] > 0 else -1)
        for axis, world in enumerate(best)
    )
