"""How unsure a run was, voxel by voxel and slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Uncertainty", "most_uncertain"]


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Uncertainty of a mask; 255 stands for 1.

    Attributes
    ----------
    entropy : ndarray of uint8
        Normalised entropy of the probabilities; display order, as the mask.
    disagreement : ndarray of uint8 or None
        How far the answers to mirror images are apart; there with test-time
        augmentation.
    """

    entropy: NDArray[np.uint8]
    disagreement: NDArray[np.uint8] | None = None


def most_uncertain(slices: Sequence[float]) -> list[int]:
    """Order slices by what a record says of them.

    Parameters
    ----------
    slices : sequence of float
        Of one axis, as `UncertaintyRecord.slices` holds them.

    Returns
    -------
    list of int
        Slice numbers, the most uncertain first; those without any doubt are left out.
    """
    amounts = np.asarray(slices, float)
    order = np.argsort(-amounts, kind="stable")
    return [int(k) for k in order if amounts[k] > 0]
