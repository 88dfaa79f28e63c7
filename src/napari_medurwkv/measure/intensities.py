"""Intensities of an image inside each class of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Intensities", "measure_intensities"]


@dataclass(frozen=True, slots=True)
class Intensities:
    """Statistics of the values inside one structure, in the image's unit (HU for CT).

    Attributes
    ----------
    mean, median, minimum, maximum : float
        Of all voxels inside.
    sd : float
        Standard deviation of all voxels inside (divided by their number).
    p10, p90 : float
        Percentiles, linear between ranks.
    """

    mean: float
    sd: float
    minimum: float
    p10: float
    median: float
    p90: float
    maximum: float


def measure_intensities(
    image: NDArray[Any], mask: NDArray[np.bool_]
) -> Intensities | None:
    """Describe the values of an image inside a mask.

    Parameters
    ----------
    image : ndarray
        One channel, finite, of the mask's shape.
    mask : ndarray of bool
        Where to look.

    Returns
    -------
    Intensities or None
        None where the mask is empty.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if image.shape != mask.shape:
        raise ValueError(f"an image of {image.shape} for a mask of {mask.shape}")
    values = image[mask].astype(np.float64)
    if not values.size:
        return None
    p10, median, p90 = np.percentile(values, (10, 50, 90))
    return Intensities(
        mean=float(values.mean()),
        sd=float(values.std()),
        minimum=float(values.min()),
        p10=float(p10),
        median=float(median),
        p90=float(p90),
        maximum=float(values.max()),
    )
