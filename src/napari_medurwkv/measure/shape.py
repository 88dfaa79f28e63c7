"""Size and shape of one structure: volume, surface, diameter, area of each slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

from napari_medurwkv.measure.boundary import (
    boundary_points,
    boundary_size,
    enclosed_size,
    neighbour_codes,
    voxel_columns,
)
from napari_medurwkv.measure.surfaces import bounding_box

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Shape", "measure_shape", "slice_sizes"]

BLOCK = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """Size and shape of one structure, in the unit of the spacing and its powers.

    Attributes
    ----------
    voxels : int
        How many.
    size : float
        Voxels times the volume (area, in 2D) that one voxel's edges span.
    mesh_size : float
        Volume (area) inside the boundary, which cuts half-way between voxel centres.
    boundary : float
        Area of that boundary; its length in 2D.
    diameter : float
        Largest distance of two points of that boundary.
    """

    voxels: int
    size: float
    mesh_size: float
    boundary: float
    diameter: float


def measure_shape(mask: NDArray[np.bool_], spacing: ArrayLike) -> Shape:
    """Measure one structure; all its parts together.

    Parameters
    ----------
    mask : ndarray of bool
        2D or 3D.
    spacing : sequence of float, or (m, ndim) array_like
        Voxel size per axis, or the columns of the grid's affine: the latter also
        measures tilted and sheared grids rightly.

    Returns
    -------
    Shape
        All zero where the mask is empty.

    Raises
    ------
    GeometryError
        If the spacing does not fit the mask.
    """
    columns = voxel_columns(spacing, mask.ndim)
    box = bounding_box(mask)
    if box is None:
        return Shape(0, 0.0, 0.0, 0.0, 0.0)
    cropped = mask[box]
    voxels = int(np.count_nonzero(cropped))
    codes = neighbour_codes(cropped)
    one = float(np.sqrt(np.linalg.det(columns.T @ columns)))
    return Shape(
        voxels=voxels,
        size=voxels * one,
        mesh_size=enclosed_size(codes, columns),
        boundary=boundary_size(codes, columns),
        diameter=_diameter(boundary_points(cropped, columns)),
    )


def slice_sizes(
    mask: NDArray[np.bool_], spacing: ArrayLike, axis: int = 0
) -> dict[int, float]:
    """Measure the area of each slice that holds something.

    Parameters
    ----------
    mask : (…) ndarray of bool
        3D.
    spacing : sequence of float, or (m, 3) array_like
        As for `measure_shape`.
    axis : int
        Axis that counts the slices.

    Returns
    -------
    dict
        Slice index to area, ascending: its voxels times the area that the edges of one
        span in the slice.
    """
    columns = np.delete(voxel_columns(spacing, mask.ndim), axis, axis=1)
    one = float(np.sqrt(np.linalg.det(columns.T @ columns)))
    others = tuple(a for a in range(mask.ndim) if a != axis)
    counts = np.count_nonzero(mask, axis=others)
    return {int(i): float(counts[i] * one) for i in np.flatnonzero(counts)}


def _diameter(points: NDArray[np.float64]) -> float:
    """Largest distance of two points; both are corners of the convex hull."""
    flat = points - points.mean(axis=0)
    # The points of a plane in space span two directions only.
    _, sizes, directions = np.linalg.svd(flat.T @ flat)
    kept = flat @ directions[sizes > 1e-9 * sizes.max()].T
    try:
        corners = kept[ConvexHull(kept).vertices]
    except QhullError:
        corners = kept
    # In blocks: a large round hull has thousands of corners.
    return max(
        float(cdist(corners[start : start + BLOCK], corners).max())
        for start in range(0, len(corners), BLOCK)
    )
