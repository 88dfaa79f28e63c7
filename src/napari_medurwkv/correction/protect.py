"""What may not change: locked classes, and voxels that a person has edited.

Every change of a mask goes through `hold_back`, so the rules hold for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

__all__ = ["Policy", "accept_model", "hold_back", "is_locked"]

Policy = Literal["keep mine", "fill only empty", "overwrite"]
"""What a new result of the network may change: "keep mine", all but what a person
edited; "fill only empty", of the rest only background; "overwrite", everything."""


def hold_back(
    before: NDArray[Any],
    after: NDArray[Any],
    locked: Collection[int],
    forbidden: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[Any], int]:
    """Take back what may not change.

    Parameters
    ----------
    before, after : ndarray
        Blocks of one shape.
    locked : collection of int
        Classes of which no voxel may be won or lost.
    forbidden : ndarray of bool, optional
        Voxels that may not change at all.

    Returns
    -------
    allowed : ndarray
        `after` itself where there is nothing to hold back, else a new block.
    held : int
        How many voxels stay as they were.
    """
    if not locked and forbidden is None:
        return after, 0
    changed = before != after
    kept = np.zeros(before.shape, bool)
    if locked:
        kept |= is_locked(before, after, locked)
    if forbidden is not None:
        kept |= forbidden
    kept &= changed
    held = int(np.count_nonzero(kept))
    if not held:
        return after, 0
    allowed = after.copy()
    allowed[kept] = before[kept]
    return allowed, held


def is_locked(
    before: NDArray[Any], after: NDArray[Any] | int, locked: Collection[int]
) -> NDArray[np.bool_]:
    """Return where a locked class would lose a voxel, or win one.

    Parameters
    ----------
    before : ndarray
        Block of the mask.
    after : ndarray or int
        What shall be there; it broadcasts.
    locked : collection of int
        Values of the locked classes.
    """
    values = np.asarray(sorted(locked))
    shut: NDArray[np.bool_] = np.isin(before, values) | np.isin(after, values)
    return shut


def accept_model(
    before: NDArray[Any],
    result: NDArray[Any],
    edited: NDArray[np.bool_],
    policy: Policy,
) -> NDArray[np.bool_] | None:
    """Return the voxels that a result of the network may not change.

    Parameters
    ----------
    before, result : ndarray
        The mask, and what the network says.
    edited : ndarray of bool
        Where a person changed the mask.
    policy : Policy
        What to protect.

    Returns
    -------
    ndarray of bool or None
        None where everything may change.
    """
    if policy == "overwrite":
        return None
    if policy == "keep mine":
        return edited
    mine: NDArray[np.bool_] = edited | (before != 0)
    return mine
