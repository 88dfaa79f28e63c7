"""Go from slice to slice that needs a look, and remember which have had one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.correction.components import label_components

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "ReviewMarks",
    "ReviewState",
    "doubtful_slices",
    "next_ranked",
    "next_slice",
    "rank_slices",
    "slices_with_islands",
    "slices_with_label",
]

ReviewState = Literal["unseen", "checked", "corrected"]


def slices_with_label(
    labels: Any, axis: int, value: int | None = None
) -> NDArray[np.int64]:
    """Return the slices that hold a class, or any.

    Parameters
    ----------
    labels : array-like of integers
        The mask; read slice by slice.
    axis : int
        Across which axis the slices lie.
    value : int, optional
        The class.

    Returns
    -------
    ndarray of int64
        Ascending.
    """
    found = [
        k
        for k in range(labels.shape[axis])
        if _present(_slice(labels, axis, k), value).any()
    ]
    return np.asarray(found, np.int64)


def slices_with_islands(
    labels: Any, axis: int, value: int | None = None
) -> NDArray[np.int64]:
    """Return the slices on which a class, or any, falls into several parts.

    Parameters and result are those of `slices_with_label`.
    """
    found = []
    for k in range(labels.shape[axis]):
        plane = _slice(labels, axis, k)
        values = [value] if value is not None else np.unique(plane[plane != 0])
        if any(label_components(plane == v)[1] > 1 for v in values):
            found.append(k)
    return np.asarray(found, np.int64)


def doubtful_slices(
    doubt: Any, axis: int, *, share: float = 0.02, most: int = 50
) -> NDArray[np.int64]:
    """Return the slices that the network is least sure of, the worst first.

    A slice counts by the mean of the doubt of its most doubtful voxels: a small region
    of high doubt matters, however large the slice.

    Parameters
    ----------
    doubt : array-like
        Of the mask's shape, such as the entropy; larger is less sure. Only its order
        counts, not its size.
    axis : int
        Across which axis the slices lie.
    share : float
        Part of a slice's voxels that counts.
    most : int
        How many slices are returned; those without doubt never are.

    Returns
    -------
    ndarray of int64
    """
    scores = []
    for k in range(doubt.shape[axis]):
        flat = np.nan_to_num(np.asarray(_slice(doubt, axis, k), np.float32)).ravel()
        top = max(1, round(share * flat.size))
        scores.append(float(np.partition(flat, flat.size - top)[-top:].mean()))
    return rank_slices(scores)[:most]


def rank_slices(scores: Sequence[float] | NDArray[Any]) -> NDArray[np.int64]:
    """Return slices by their doubt, the most doubtful first.

    Parameters
    ----------
    scores : sequence of float
        One per slice, such as the sum of the entropy over it. Slices of 0, such as
        those that the network did not look at, and of no number are left out.

    Returns
    -------
    ndarray of int64
        Of equal ones the lower comes first.
    """
    doubt = np.nan_to_num(np.asarray(scores, float))
    ranked = np.argsort(-doubt, kind="stable")
    found: NDArray[np.int64] = ranked[doubt[ranked] > 0]
    return found


def next_ranked(
    ranked: Sequence[int] | NDArray[Any], current: int, direction: Literal[1, -1]
) -> int | None:
    """Return the slice that comes after, or before, the current one in a ranking.

    Parameters
    ----------
    ranked : sequence of int
        Slices, the first to be looked at first.
    current : int
        Where one is; from a slice that is not in the ranking one goes to its first.
    direction : {1, -1}
        Down the ranking, or back up.

    Returns
    -------
    int or None
        None at its end.
    """
    order = [int(k) for k in ranked]
    if current not in order:
        return order[0] if order else None
    place = order.index(current) + direction
    return order[place] if 0 <= place < len(order) else None


def next_slice(
    candidates: Sequence[int] | NDArray[Any], current: int, direction: Literal[1, -1]
) -> int | None:
    """Return the nearest candidate after, or before, a slice; None where there is none.

    Parameters
    ----------
    candidates : sequence of int
        Slices, in any order.
    current : int
        Where one is.
    direction : {1, -1}
        Forwards or backwards.
    """
    beyond = [int(c) for c in candidates if (int(c) - current) * direction > 0]
    return min(beyond, key=lambda c: abs(c - current)) if beyond else None


class ReviewMarks:
    """What has been looked at, slice by slice.

    Parameters
    ----------
    axis : int
        Across which axis the slices lie.
    count : int
        How many there are.
    """

    def __init__(self, axis: int, count: int) -> None:
        self.axis = axis
        self._states: list[ReviewState] = ["unseen"] * count

    def __getitem__(self, index: int) -> ReviewState:
        return self._states[index]

    def __len__(self) -> int:
        return len(self._states)

    def check(self, index: int) -> None:
        """Mark a slice as looked at; one that was corrected stays corrected."""
        if self._states[index] == "unseen":
            self._states[index] = "checked"

    def correct(self, first: int, stop: int) -> None:
        """Mark slices as corrected."""
        self._states[first:stop] = ["corrected"] * len(self._states[first:stop])

    def forget(self, index: int) -> None:
        """Mark a slice as not looked at."""
        self._states[index] = "unseen"

    def count(self, state: ReviewState) -> int:
        """Return how many slices are in a state."""
        return self._states.count(state)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold, for the journal and the provenance."""
        return {
            "axis": self.axis,
            "slices": len(self._states),
            "checked": [k for k, s in enumerate(self._states) if s == "checked"],
            "corrected": [k for k, s in enumerate(self._states) if s == "corrected"],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ReviewMarks:
        """Read back what `to_json` gave."""
        marks = cls(int(fields["axis"]), int(fields["slices"]))
        for index in fields["checked"]:
            marks._states[index] = "checked"
        for index in fields["corrected"]:
            marks._states[index] = "corrected"
        return marks


def _slice(array: Any, axis: int, index: int) -> NDArray[Any]:
    return np.asarray(array[(*(slice(None),) * axis, index)])


def _present(plane: NDArray[Any], value: int | None) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = plane != 0 if value is None else plane == value
    return found
