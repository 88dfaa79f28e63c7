"""Small facts about voxel-to-world matrices."""

from __future__ import annotations

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

    As nibabel does: of the rotation that is nearest to the matrix (by its polar
    decomposition) each column's largest entry, no world axis twice.

    Parameters
    ----------
    affine : (4, 4) ndarray
        Index to RAS; not singular.
    ndim : int
        How many index axes to tell, 2 or 3.
    """
    from nibabel.orientations import io_orientation  # a tenth of a second to import

    found = io_orientation(with_normal(affine))[:ndim]
    return tuple((int(world), int(sign)) for world, sign in found)
