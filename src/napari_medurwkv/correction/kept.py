"""What a person changed of the model's mask: its labels, where they are marked.

Beside the marks, which say where a person changed something, stands here what was there
before. So it can be told how much of the model's mask is still as the model left it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.edits import Patch

__all__ = ["ModelLabels"]


class ModelLabels:
    """Labels of the model at the voxels that are marked.

    Parameters
    ----------
    shape : tuple of int
        Of the mask.
    dtype : dtype
        Of the mask.
    """

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        # Memory is taken only where a person changes something.
        self._labels = np.zeros(tuple(shape), dtype)

    def note(self, patches: Sequence[Patch], marks: NDArray[np.bool_]) -> None:
        """Keep what an edit of a person takes away; call it before it is marked.

        Parameters
        ----------
        patches : sequence of Patch
            Of the labels.
        marks : ndarray of bool
            Which voxels are marked already: what the model said there is kept.
        """
        # Where patches of a joined step lie over each other, the first knows the model.
        for patch in reversed(patches):
            where = patch.where()
            own = marks[patch.box][where]
            if own.all():
                continue
            old = patch.old.unpack()
            view = self._labels[patch.box]
            fresh = where.copy()
            fresh[where] = ~own
            view[fresh] = old if isinstance(old, int) else old[~own]

    def share_kept(self, labels: Any, marks: NDArray[np.bool_]) -> float | None:
        """Return how much of what the model labelled is still labelled so.

        Parameters
        ----------
        labels : array-like of integers
            The mask as it is.
        marks : ndarray of bool
            Where a person changed it.

        Returns
        -------
        float or None
            0 to 1; None where the model labelled nothing.
        """
        labelled = kept = 0
        for k in range(labels.shape[0]):
            now, marked = np.asarray(labels[k]), marks[k]
            of_model = np.where(marked, self._labels[k], now)
            present = of_model != 0
            labelled += int(np.count_nonzero(present))
            kept += int(np.count_nonzero(present & (of_model == now)))
        return kept / labelled if labelled else None
