"""Where a mask ends: its boundary, cell by cell, between the centres of its voxels.

Eight neighbouring voxel centres span a cell (four, in 2D). Which of them are inside is
a code of eight bits, and marching cubes says for each code which triangles separate
inside from outside. So surface and volume of a mask are sums over its codes, whatever
its size, and no mesh need be kept.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "boundary_points",
    "boundary_size",
    "enclosed_size",
    "neighbour_codes",
    "size_table",
    "voxel_columns",
]


def voxel_columns(spacing: ArrayLike, ndim: int) -> NDArray[np.float64]:
    """Return the vectors from a voxel to its neighbours.

    Parameters
    ----------
    spacing : sequence of float, or (m, ndim) array_like
        Voxel size per axis; or, for a grid that is tilted or sheared, the columns of
        its affine.
    ndim : int
        Axes of the mask.

    Returns
    -------
    (m, ndim) float64 ndarray
        One column an axis.

    Raises
    ------
    GeometryError
        If there are not as many sizes as axes, or one is not positive.
    """
    columns = np.asarray(spacing, dtype=np.float64)
    if columns.ndim == 1:
        if len(columns) != ndim:
            raise GeometryError(
                f"The spacing has {len(columns)} numbers, the mask {ndim} axes."
            )
        columns = np.diag(columns)
    if columns.shape[1] != ndim:
        raise GeometryError(
            f"The affine has {columns.shape[1]} columns, the mask {ndim} axes."
        )
    lengths = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(columns).all() and (lengths > 0).all()):
        raise GeometryError("Voxel sizes must be positive and finite.")
    return columns


def neighbour_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Code which corners of each cell are inside.

    Parameters
    ----------
    mask : (...) ndarray of bool
        2D or 3D; outside the array nothing is inside.

    Returns
    -------
    ndarray of uint8
        One longer than the mask along each axis. The cell's first corner, lowest along
        every axis, is the highest bit; the last axis runs fastest.
    """
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros(tuple(n + 1 for n in mask.shape), np.uint8)
    corners = list(product((0, 1), repeat=mask.ndim))
    for place, corner in enumerate(corners):
        window = tuple(
            slice(start, start + n + 1)
            for start, n in zip(corner, mask.shape, strict=True)
        )
        codes |= padded[window] << np.uint8(len(corners) - 1 - place)
    return codes


def size_table(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the size of the boundary in a cell of each code.

    Parameters
    ----------
    columns : (m, 2) or (m, 3) ndarray
        From `voxel_columns`.

    Returns
    -------
    (16,) or (256,) float64 ndarray
        Lengths in 2D, areas in 3D. Codes of more than half of the corners have the
        boundary of their complement, so a mask and its background share theirs.

    References
    ----------
    Lorensen and Cline, "Marching Cubes", Computer Graphics 21 (1987). Elements of such
    size also weigh the normalized surface distance of Nikolov et al., "Clinically
    Applicable Segmentation of Head and Neck Anatomy for Radiotherapy", Journal of
    Medical Internet Research 23 (2021).
    """
    ndim = columns.shape[1]
    sizes = np.zeros(2 ** (2**ndim))
    for code, elements in enumerate(_elements(ndim)):
        if elements.size:
            corners = elements @ columns.T
            sides = corners[:, 1:] - corners[:, :1]
            gram = sides @ sides.transpose(0, 2, 1)
            scale = 1.0 if ndim == 2 else 0.5
            squared = np.maximum(np.linalg.det(gram), 0)
            sizes[code] = scale * np.sqrt(squared).sum()
    return sizes


def boundary_size(codes: NDArray[np.uint8], columns: NDArray[np.float64]) -> float:
    """Return the surface of a 3D mask, or the perimeter of a 2D one.

    Parameters
    ----------
    codes : ndarray of uint8
        From `neighbour_codes`.
    columns : (m, ndim) ndarray
        From `voxel_columns`.
    """
    table = size_table(columns)
    return float(np.bincount(codes.ravel(), minlength=len(table)) @ table)


def enclosed_size(codes: NDArray[np.uint8], columns: NDArray[np.float64]) -> float:
    """Return the volume (area) that the boundary encloses, not that of the voxels.

    Parameters
    ----------
    codes : ndarray of uint8
        From `neighbour_codes`.
    columns : (m, ndim) ndarray
        From `voxel_columns`.
    """
    ndim = columns.shape[1]
    table = _fractions(ndim)
    cell = float(np.sqrt(np.linalg.det(columns.T @ columns)))
    return cell * float(np.bincount(codes.ravel(), minlength=len(table)) @ table)


def boundary_points(
    mask: NDArray[np.bool_], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the corners of the boundary: half-way between inside and outside.

    Parameters
    ----------
    mask : ndarray of bool
        2D or 3D.
    columns : (m, ndim) ndarray
        From `voxel_columns`.

    Returns
    -------
    (n, m) float64 ndarray
        Relative to the centre of the mask's first voxel.
    """
    padded = np.pad(mask, 1)
    points = []
    for axis in range(mask.ndim):
        before = np.moveaxis(padded, axis, 0)[:-1]
        after = np.moveaxis(padded, axis, 0)[1:]
        found = np.argwhere(np.moveaxis(before ^ after, 0, axis)).astype(np.float64)
        found[:, axis] += 0.5
        points.append(found - 1.0)
    return np.concatenate(points) @ columns.T


@lru_cache(maxsize=2)
def _elements(ndim: int) -> tuple[NDArray[np.float64], ...]:
    """Triangles (segments) of each code, (n, ndim, ndim), in cell coordinates."""
    corners = 2**ndim
    full = 2**corners - 1
    found = []
    for code in range(full + 1):
        few = code if code.bit_count() <= corners // 2 else full - code
        found.append(_separate(_inside(few, ndim)))
    return tuple(found)


def _separate(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not inside.any():
        return np.empty((0, inside.ndim, inside.ndim))
    if inside.ndim == 2:
        return _segments(inside)
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(
        inside.astype(np.float32), 0.5, method="lorensen"
    )
    return np.asarray(np.asarray(vertices, np.float64)[faces])


def _segments(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cut off each corner that is inside; two on one side by one straight cut."""
    count = int(inside.sum())
    if count == 2 and inside[0, 0] != inside[1, 1]:
        along = int(inside[0, 0] == inside[1, 0])
        ends = np.array([[0.5, 0.0], [0.5, 1.0]])
        return ends[None] if not along else ends[None, :, ::-1]
    segments: list[list[list[float]]] = []
    for corner in np.argwhere(inside).astype(np.float64):
        row, column = corner
        segments.append([[0.5, column], [row, 0.5]])
    return np.array(segments)


@lru_cache(maxsize=2)
def _fractions(ndim: int) -> NDArray[np.float64]:
    """Which part of a cell of each code lies inside the boundary."""
    corners = 2**ndim
    full = 2**corners - 1
    table = np.zeros(full + 1)
    for code in range(full + 1):
        if code.bit_count() <= corners // 2:
            table[code] = _part(code, ndim)
    for code in range(full + 1):
        if code.bit_count() > corners // 2:
            table[code] = 1 - table[full - code]
    return table


def _part(code: int, ndim: int) -> float:
    inside = _inside(code, ndim)
    if ndim == 2:
        return _plane_part(inside)
    triangles = _elements(3)[code]
    if not len(triangles):
        return 0.0
    # Gauss: the volume is the flux of (x, 0, 0) through the triangles and through the
    # part of the far side that is inside.
    sides = triangles[:, 1:] - triangles[:, :1]
    normals = np.cross(sides[:, 0], sides[:, 1]) / 2
    flux = float((triangles[:, :, 0].mean(axis=1) * normals[:, 0]).sum())
    outward = 1 if _point_outward(triangles, normals, inside) else -1
    return outward * flux + _plane_part(inside[1])


def _point_outward(
    triangles: NDArray[np.float64],
    normals: NDArray[np.float64],
    inside: NDArray[np.bool_],
) -> bool:
    """Whether normals lead away from the nearest corner that is inside."""
    middle = triangles[0].mean(axis=0)
    corners = np.argwhere(inside)
    nearest = corners[np.linalg.norm(corners - middle, axis=1).argmin()]
    return bool(normals[0] @ (middle - nearest) > 0)


def _plane_part(inside: NDArray[np.bool_]) -> float:
    count = int(inside.sum())
    if count == 2:
        return 0.25 if inside[0, 0] == inside[1, 1] else 0.5
    return (0.0, 0.125, 0.0, 0.875, 1.0)[count]


def _inside(code: int, ndim: int) -> NDArray[np.bool_]:
    corners = 2**ndim
    bits: Sequence[Any] = [code >> (corners - 1 - i) & 1 for i in range(corners)]
    return np.array(bits, dtype=bool).reshape((2,) * ndim)
