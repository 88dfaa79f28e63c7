"""What a run reports while it works, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.inference.probabilities import Probabilities
    from napari_medurwkv.inference.uncertainty import Uncertainty
    from napari_medurwkv.provenance import RunRecord

__all__ = ["Progress", "Segmentation", "SliceFeatures"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    done, total : int
        Windows computed, and windows in all.
    region : tuple of slice, or None
        Part of the labels (display order) that has just become final; None if no part
        did.
    seconds : float
        Since the run began.
    """

    done: int
    total: int
    region: tuple[slice, ...] | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A mask in display order, and everything needed to keep or judge it.

    Attributes
    ----------
    labels : ndarray
        uint8 or uint16 class values, or int32 object numbers; shape
        ``geometry.display_shape``.
    geometry : Geometry
        The image's own.
    classes : tuple of ClassInfo
        The card's.
    instances : bool
        Whether `labels` numbers objects instead of naming classes.
    complete : bool
        False if the run was cancelled and its part kept; the rest is 0.
    fraction : float
        Windows done, as a part of all windows.
    record : RunRecord
        How the mask was made.
    probabilities : Probabilities or None
        Where they were to be kept, and the run is complete.
    uncertainty : Uncertainty or None
        Where it was asked for.
    """

    labels: NDArray[Any]
    geometry: Geometry
    classes: tuple[ClassInfo, ...]
    instances: bool
    complete: bool
    fraction: float
    record: RunRecord
    probabilities: Probabilities | None = None
    uncertainty: Uncertainty | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SliceFeatures:
    """Features of a slice.

    Attributes
    ----------
    maps : ndarray of float16, shape (features, Y, X)
        Principal components of the network's maps at a quarter and an eighth of its
        resolution, each of deviation 1.
    odds : ndarray of float16, shape (values, Y, X)
        Log odds of each mask value against all others, held to +-12.
    values : tuple of int
        Mask values, ascending.
    """

    maps: NDArray[np.float16]
    odds: NDArray[np.float16]
    values: tuple[int, ...]
