"""Cut with a polygon, straight through slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from skimage.draw import polygon2mask

from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["cut_polygon"]


def cut_polygon(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    corners: Sequence[Sequence[float]],
    axis: int | None,
    side: Literal["inside", "outside"] = "inside",
    classes: Sequence[int] | None = None,
    into: int = 0,
) -> NDArray[Any]:
    """Erase, or relabel, what lies inside or outside of a polygon.

    Parameters
    ----------
    labels : ndarray of integers
        2D block, or 3D block that the polygon goes through along `axis`.
    spacing : sequence of float, mm
        Voxel size per axis; it does not matter here.
    corners : sequence of (row, column)
        Of the polygon, in voxels of the plane across `axis`.
    axis : int or None
        Axis along which it goes; None for a 2D block.
    side : {"inside", "outside"}
        What is cut away.
    classes : sequence of int, optional
        Classes to cut; by default all but background.
    into : int
        What is put in place of it.

    Returns
    -------
    ndarray
        A new block.

    Raises
    ------
    CorrectionError
        If the polygon has fewer than three corners.
    """
    if len(corners) < 3:
        raise CorrectionError("A polygon needs at least three corners; draw it again.")
    shape = tuple(n for i, n in enumerate(labels.shape) if i != axis)
    plane = polygon2mask(shape, np.asarray(corners, float))
    if side == "outside":
        plane = ~plane
    cut = plane if axis is None else np.expand_dims(plane, axis)
    chosen = labels != 0
    if classes is not None:
        chosen = np.isin(labels, np.asarray(tuple(classes)))
    after = labels.copy()
    after[chosen & cut] = into
    return after
