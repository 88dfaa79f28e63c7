"""Logical operations between classes or masks: copy, add, subtract, intersect, invert.

Each gives the voxels of one class, the target, anew; other classes give way only if
they are named in `over`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LogicalOperation", "combine"]

LogicalOperation = Literal["copy", "add", "subtract", "intersect", "invert"]


def combine(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    operation: LogicalOperation,
    target: int,
    other: NDArray[np.bool_] | None = None,
    modifier: int | None = None,
    over: Sequence[int] = (0,),
) -> NDArray[Any]:
    """Change one class by a second mask or class.

    Parameters
    ----------
    labels : ndarray of integers
        Block of a mask.
    spacing : sequence of float, mm
        Voxel size per axis; it does not matter here.
    operation : {"copy", "add", "subtract", "intersect", "invert"}
        "copy": the target becomes the other. "add": it gains the other. "subtract": it
        loses the other. "intersect": only what both have stays. "invert": it becomes
        all that it was not; without another mask.
    target : int
        The class that changes.
    other : ndarray of bool, optional
        The other mask, of the same shape, such as a class of another layer.
    modifier : int, optional
        Or the other class, of the same mask; its own voxels stay its own unless it is
        named in `over`.
    over : sequence of int
        Values that what is gained may overwrite; by default only background.

    Returns
    -------
    ndarray
        A new block.
    """
    if target == 0:
        raise CorrectionError("Choose a class other than background to change.")
    own = labels == target
    if operation == "invert":
        wanted = ~own
    else:
        second = _second(labels, other, modifier)
        wanted = {
            "copy": second,
            "add": own | second,
            "subtract": own & ~second,
            "intersect": own & second,
        }[operation]
    after = labels.copy()
    after[own & ~wanted] = 0
    gained = wanted & ~own & np.isin(labels, np.asarray(tuple(over), labels.dtype))
    after[gained] = target
    return after


def _second(
    labels: NDArray[Any], other: NDArray[np.bool_] | None, modifier: int | None
) -> NDArray[np.bool_]:
    if (other is None) == (modifier is None):
        raise CorrectionError(
            "Choose either another layer or another class to combine with."
        )
    if other is None:
        same: NDArray[np.bool_] = labels == modifier
        return same
    if other.shape != labels.shape:
        raise CorrectionError(
            f"The other mask has the shape {other.shape}, this one {labels.shape}; "
            "they have to lie on one grid."
        )
    return np.asarray(other, bool)
