"""The threshold brush: painting that keeps to a range of intensities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["in_range", "suggest_range"]


def in_range(image: NDArray[Any], low: float, high: float) -> NDArray[np.bool_]:
    """Return where an image lies within a range, its ends included.

    Parameters
    ----------
    image : ndarray
        Block of the image, the mask's shape.
    low, high : float
        The range, in the image's own values.

    Returns
    -------
    ndarray of bool
    """
    inside: NDArray[np.bool_] = (image >= low) & (image <= high)
    return inside


def suggest_range(values: NDArray[Any], width: float = 2.0) -> tuple[float, float]:
    """Suggest a range from values that belong in it, such as those under the brush.

    Parameters
    ----------
    values : ndarray
        Intensities; any that are not finite are left out.
    width : float
        Half-width of the range in standard deviations, estimated from the quartiles, so
        that a few foreign values do not widen it.

    Returns
    -------
    low, high : float

    Raises
    ------
    CorrectionError
        If there is no finite value.
    """
    flat = np.asarray(values, float).ravel()
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        raise CorrectionError(
            "There is no image under the brush to take a range from; move over it."
        )
    quarter, middle, three = np.percentile(flat, (25, 50, 75))
    # Of a normal distribution the quartiles lie 1.349 standard deviations apart.
    deviation = (three - quarter) / 1.349
    if deviation == 0:
        deviation = float(flat.std())
    return float(middle - width * deviation), float(middle + width * deviation)
