"""From stored values to network input, by the card's intensity recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints.card import IntensityRecipe

__all__ = ["SAMPLE_VALUES", "IntensityScale", "fit_intensity"]

SAMPLE_VALUES = 4_000_000
"""Images with more values than this are judged by a regular sample of them."""


@dataclass(frozen=True, slots=True)
class IntensityScale:
    """A recipe with its limits found for one image.

    Attributes
    ----------
    low, high : float
        Stored values that become 0 and 1.
    floor, ceiling : float
        What replaces minus infinity and undefined values, and plus infinity.
    clip : bool
        Whether to clip to [0, 1].
    mean, std : float
        Subtracted and divided by afterwards.
    """

    low: float
    high: float
    floor: float
    ceiling: float
    clip: bool
    mean: float
    std: float

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Turn stored values of any shape into network input.

        Parameters
        ----------
        values : ndarray
            Real numbers of any type.

        Returns
        -------
        ndarray of float32
            A new array of the same shape.
        """
        # Wide types lose less when the offset goes before the precision does.
        exact = values.dtype.itemsize <= (4 if values.dtype.kind == "f" else 2)
        precision = np.float32 if exact else np.float64
        x: NDArray[np.floating] = values.astype(precision, order="C")
        if values.dtype.kind == "f" and not np.isfinite(x).all():
            np.nan_to_num(
                x, copy=False, nan=self.floor, posinf=self.ceiling, neginf=self.floor
            )
        if (self.low, self.high) != (0, 1):
            x -= precision(self.low)
            x *= precision(1 / (self.high - self.low))
        if self.clip:
            np.clip(x, 0, 1, out=x)
        if (self.mean, self.std) != (0, 1):
            x -= precision(self.mean)
            x /= precision(self.std)
        return x.astype(np.float32, copy=False)


def fit_intensity(
    recipe: IntensityRecipe,
    array: Any,
    *,
    planes: bool,
    check: Callable[[], None] = lambda: None,
) -> IntensityScale:
    """Find the limits of a recipe on one image.

    One pair of limits serves all planes and colours of the image. An image that is
    constant has nothing to be scaled by: it becomes 0.

    Parameters
    ----------
    recipe : IntensityRecipe
        The card's.
    array : array-like
        The image in display order, perhaps lazy: it is read plane by plane.
    planes : bool
        Whether the first axis counts planes.
    check : callable
        Called before each plane is read; may raise to end the search.

    Returns
    -------
    IntensityScale

    Raises
    ------
    ImageError
        If the image has no finite value.
    """
    dtype = np.dtype(array.dtype)
    sample = _sample(array, planes, check)
    low_seen, high_seen = float(sample.min()), float(sample.max())
    low, high, clip = 0.0, 1.0, recipe.clip
    if recipe.scale == "dtype":
        low, high = _type_range(dtype, low_seen, high_seen)
    elif recipe.scale == "window":
        low, high = _limits(recipe)
    elif recipe.scale == "percentile":
        low, high = _percentiles(sample, _limits(recipe), recipe.nonzero)
    else:
        clip = False
    if not low < high:
        high = low + 1
    return IntensityScale(
        low,
        high,
        # "none" has no limits of its own to hold back infinite values.
        floor=low_seen if recipe.scale == "none" else low,
        ceiling=high_seen if recipe.scale == "none" else high,
        clip=clip,
        mean=recipe.mean,
        std=recipe.std,
    )


def _limits(recipe: IntensityRecipe) -> tuple[float, float]:
    if recipe.low is None or recipe.high is None:
        raise ValueError(f"scaling by {recipe.scale} needs low and high")
    return recipe.low, recipe.high


def _type_range(
    dtype: np.dtype[Any], low_seen: float, high_seen: float
) -> tuple[float, float]:
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return float(info.min), float(info.max)
    # Floats and booleans are pictures in [0, 1]; others are scaled by what they hold.
    if low_seen >= 0 and high_seen <= 1:
        return 0.0, 1.0
    return low_seen, high_seen


def _percentiles(
    sample: NDArray[Any], percent: tuple[float, float], nonzero: bool
) -> tuple[float, float]:
    if nonzero:
        above = sample[sample > sample.min()]
        sample = above if above.size else sample
    low, high = np.percentile(sample, percent)
    return float(low), float(high)


def _sample(array: Any, planes: bool, check: Callable[[], None]) -> NDArray[Any]:
    """Finite values of the image; all of them or a regular part."""
    axes = 3 if planes else 2
    values = math.prod(array.shape)
    step = max(1, math.ceil((values / SAMPLE_VALUES) ** (1 / axes)))
    parts = []
    for part in _strided(array, planes, step):
        check()
        plain = np.asarray(part).ravel()
        if plain.dtype.kind == "f":
            plain = plain[np.isfinite(plain)]
        parts.append(plain)
    sample = np.concatenate(parts)
    if not sample.size:
        raise ImageError(
            "The image has no finite value, only NaN or infinity; check how it was "
            "made."
        )
    return sample


def _strided(array: Any, planes: bool, step: int) -> Iterator[Any]:
    """Every `step`-th point of each axis, from the middle of the steps."""
    if planes:
        start = min(step // 2, array.shape[0] - 1)
        for k in range(start, array.shape[0], step):
            yield _thin(np.asarray(array[k]), step)
        return
    # Slabs bound what a lazy array has to make at once.
    slab = max(step, 2**24 // max(1, math.prod(array.shape[1:])) // step * step)
    for first in range(0, array.shape[0], slab):
        yield _thin(np.asarray(array[first : first + slab]), step)


def _thin(plane: NDArray[Any], step: int) -> NDArray[Any]:
    if step == 1:
        return plane
    rows = min(step // 2, plane.shape[0] - 1)
    columns = min(step // 2, plane.shape[1] - 1)
    return plane[rows::step, columns::step]
