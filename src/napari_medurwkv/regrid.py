"""Bring labels from one grid onto another through the world they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_medurwkv.affine import with_normal
from napari_medurwkv.errors import GeometryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry

__all__ = ["resample_labels"]


def resample_labels(
    labels: NDArray[Any], source_geometry: Geometry, target_geometry: Geometry
) -> NDArray[Any]:
    """Bring labels onto another grid: each voxel takes the nearest one in the world.

    Parameters
    ----------
    labels : ndarray of integers
        In display order of `source_geometry`.
    source_geometry, target_geometry : Geometry
        Where the labels are, and where they shall be.

    Returns
    -------
    ndarray
        In display order of `target_geometry`; 0 outside the source.

    Raises
    ------
    GeometryError
        If the labels do not fit, or the two do not share a world.
    """
    if labels.shape != source_geometry.display_shape:
        raise GeometryError(
            f"The labels have shape {labels.shape}, but their grid is displayed as "
            f"{source_geometry.display_shape}: they do not belong together."
        )
    if source_geometry.kind != target_geometry.kind:
        raise GeometryError(
            f"One grid is {source_geometry.kind!r}, the other "
            f"{target_geometry.kind!r}: they share no world to compare them in."
        )
    units = [(g.mm_per_unit, g.unit) for g in (source_geometry, target_geometry)]
    if (units[0][0] is None) != (units[1][0] is None):
        raise GeometryError(
            f"One grid is measured in {units[0][1]}, the other in {units[1][1]}."
        )
    ratio = (units[1][0] or 1.0) / (units[0][0] or 1.0)
    to_source = np.linalg.inv(with_normal(source_geometry.display_affine)) @ (
        np.diag([ratio, ratio, ratio, 1.0])
        @ with_normal(target_geometry.display_affine)
    )
    volume = labels if source_geometry.ndim == 3 else labels[:, :, None]
    target_shape = target_geometry.display_shape
    grid = target_shape if len(target_shape) == 3 else (*target_shape, 1)
    result = np.zeros(grid, dtype=labels.dtype)
    rows = np.arange(grid[1])[:, None]
    columns = np.arange(grid[2])[None, :]
    for index in range(grid[0]):
        where = []
        inside = np.ones(grid[1:], dtype=bool)
        for axis in range(3):
            a, b, c, d = to_source[axis]
            place = a * index + b * rows + c * columns + d
            # Rounded first: a voxel half-way must not fall by the last bit.
            nearest = np.floor(np.round(place, 4) + 0.5).astype(np.intp)
            inside &= (nearest >= 0) & (nearest < volume.shape[axis])
            where.append(nearest)
        chosen = tuple(nearest[inside] for nearest in where)
        result[index][inside] = volume[chosen]
    return cast("NDArray[Any]", result.reshape(target_shape))
