"""Everything within a distance in mm: exact dilation by a ball on voxels of any shape.

A voxel is reached if its centre lies within the radius of the centre of a true voxel.
The border of the array is no surface: nothing comes in from outside.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medurwkv.correction.components import fast_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LONGER", "ball_rows", "dilate", "erode", "within"]

LONGER = 1 + 1e-6
"""Radii are taken this much longer: a multiple of the voxel size is then reached."""

_MOST_ROWS = 400


def ball_rows(radius: float, spacing: Sequence[float]) -> dict[tuple[int, ...], int]:
    """Describe a ball as rows along the last axis.

    Parameters
    ----------
    radius : float, mm
        Of the ball.
    spacing : sequence of float, mm
        Voxel size per axis.

    Returns
    -------
    dict
        From the offset along all axes but the last to the half-width of the row.
    """
    limit = (radius * LONGER) ** 2
    steps = [math.floor(radius * LONGER / s) for s in spacing[:-1]]
    rows: dict[tuple[int, ...], int] = {}
    for offset in np.ndindex(*(2 * n + 1 for n in steps)):
        at = tuple(o - n for o, n in zip(offset, steps, strict=True))
        left = limit - sum((o * s) ** 2 for o, s in zip(at, spacing[:-1], strict=True))
        if left >= 0:
            rows[at] = math.floor(math.sqrt(left) / spacing[-1])
    return rows


def dilate(
    mask: NDArray[np.bool_], radius: float, spacing: Sequence[float]
) -> NDArray[np.bool_]:
    """Return all voxels within a radius of the true ones.

    Parameters
    ----------
    mask : ndarray of bool
        2D or 3D.
    radius : float, mm
        0 returns a copy.
    spacing : sequence of float, mm
        Voxel size per axis.

    Returns
    -------
    ndarray of bool
    """
    rows = ball_rows(radius, spacing)
    if len(rows) > _MOST_ROWS:
        return within(mask, radius, spacing)
    out = np.zeros_like(mask)
    for width in sorted(set(rows.values())):
        wide = _widen(mask, width)
        for offset, own in rows.items():
            if own == width:
                _or_shifted(out, wide, offset)
    return out


def within(
    mask: NDArray[np.bool_], radius: float, spacing: Sequence[float]
) -> NDArray[np.bool_]:
    """Do as `dilate` does, by a distance transform: for large balls."""
    if not mask.any():
        return np.zeros_like(mask)
    edt = fast_module("edt")
    limit = radius * LONGER
    if edt is not None:
        sampling = tuple(float(s) for s in spacing)
        outside = np.ascontiguousarray(~mask)
        near: NDArray[np.bool_] = edt.edt(outside, anisotropy=sampling) <= limit
        return near
    near = ndimage.distance_transform_edt(~mask, sampling=spacing) <= limit
    return near


def erode(
    mask: NDArray[np.bool_], radius: float, spacing: Sequence[float]
) -> NDArray[np.bool_]:
    """Return the true voxels that are farther than a radius from every false one."""
    return ~dilate(~mask, radius, spacing)


def _widen(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Dilate along the last axis by a number of voxels."""
    done, wide = 0, mask
    while done < width:
        # Each pass may at most double what is there, plus one: no gaps remain.
        step = min(width - done, done + 1)
        grown = wide.copy()
        grown[..., step:] |= wide[..., :-step]
        grown[..., :-step] |= wide[..., step:]
        wide, done = grown, done + step
    return wide


def _or_shifted(
    out: NDArray[np.bool_], wide: NDArray[np.bool_], offset: tuple[int, ...]
) -> None:
    to, come = [], []
    for o, n in zip(offset, out.shape, strict=False):
        if abs(o) >= n:
            return
        to.append(slice(max(o, 0), n + min(o, 0)))
        come.append(slice(max(-o, 0), n + min(-o, 0)))
    out[tuple(to)] |= wide[tuple(come)]
