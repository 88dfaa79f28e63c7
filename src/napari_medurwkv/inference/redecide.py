"""Decide a mask again from kept probabilities: threshold, class weights, temperature.

Of numbers alone; needs neither torch nor the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.checkpoints.card import InstanceRecipe
from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.instances import ObjectNumbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_medurwkv.inference.probabilities import Probabilities, Rule

__all__ = ["Settings", "decide_part", "redecide"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a mask is decided by.

    Attributes
    ----------
    threshold : float or None
        Foreground is where its probability exceeds this: that of all foreground classes
        together where they exclude each other (softmax), that of the most probable one
        where they do not (sigmoid). None takes the card's rule: with softmax the most
        probable class wins, background included.
    weights : mapping of int to float
        Factor on the odds of a mask value; 1 where none is given.
    temperature : float
        The probabilities' logits are divided by it: above 1, the network counts as less
        sure of itself.
    """

    threshold: float | None = None
    weights: Mapping[int, float] = field(default_factory=dict)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        threshold = self.threshold
        if threshold is not None and not 0 <= threshold <= 1:
            raise ImageError("A threshold lies between 0 and 1.")
        for number in (self.temperature, *self.weights.values()):
            if not (math.isfinite(number) and number > 0):
                raise ImageError("Weights and temperature are numbers above 0.")

    @property
    def neutral(self) -> bool:
        """Whether they change nothing."""
        equal = all(weight == 1 for weight in self.weights.values())
        return self.threshold is None and equal and self.temperature == 1

    def to_json(self) -> dict[str, Any]:
        """Return what a record says of them."""
        weights = {str(v): w for v, w in sorted(self.weights.items()) if w != 1}
        return {
            "threshold": self.threshold,
            "weights": weights,
            "temperature": self.temperature,
        }


def decide_part(
    quantised: NDArray[np.uint8], rule: Rule, settings: Settings
) -> NDArray[Any]:
    """Choose the mask value of each voxel.

    With the card's own rule the result is what the run decided, voxel for voxel: the
    probabilities were rounded so that they still say the same.

    Parameters
    ----------
    quantised : ndarray of uint8, shape (channels, ...)
        Any part of `Probabilities.array`; 255 stands for 1.
    rule : Rule
        What the channels mean.
    settings : Settings
        What to decide by.

    Returns
    -------
    ndarray of uint8 or uint16, shape (...)
    """
    tables = _tables(rule, settings)
    values = rule.values
    dtype = np.uint8 if values[-1] <= 255 else np.uint16
    first = 1 if values[0] == 0 else 0
    softmax = rule.activation == "softmax"
    shape = quantised.shape[1:]
    chosen = np.zeros(shape, dtype)
    threshold = settings.threshold
    if softmax and threshold is None:
        # The first of equal scores wins, as it does in the run.
        best = tables[0][quantised[0]]
        chosen[...] = values[0]
        for channel in range(1, len(values)):
            _take_larger(
                chosen, best, tables[channel][quantised[channel]], values, channel
            )
        return chosen
    if first == len(values):
        return chosen
    best = tables[first][quantised[first]]
    chosen[...] = values[first]
    total = best.copy() if softmax else None
    for channel in range(first + 1, len(values)):
        score = tables[channel][quantised[channel]]
        if total is not None:
            total += score
        _take_larger(chosen, best, score, values, channel)
    limit = np.float32(rule.threshold if threshold is None else threshold)
    if total is None:
        chosen[best <= limit] = 0
    elif first:
        background = tables[0][quantised[0]]
        # fg / (fg + bg) <= t, without dividing.
        chosen[total * (1 - limit) <= background * limit] = 0
    return chosen


def redecide(
    probabilities: Probabilities,
    settings: Settings,
    out: NDArray[Any],
    *,
    cancel: Callable[[], bool] | None = None,
) -> bool:
    """Decide the whole mask again, plane by plane.

    Where objects were numbered, they are told apart again.

    Parameters
    ----------
    probabilities : Probabilities
        Of the run.
    settings : Settings
        What to decide by.
    out : ndarray of integers, shape `rule.shape`
        The mask in display order; 0 outside the part that was computed.
    cancel : callable, optional
        Asked before each plane; True ends the work.

    Returns
    -------
    bool
        False where it was cancelled.
    """
    rule, array = probabilities.rule, probabilities.array
    if tuple(out.shape) != rule.shape:
        raise ImageError(
            f"The mask has the shape {tuple(out.shape)}, the probabilities belong to "
            f"one of {rule.shape}."
        )
    out[...] = 0
    part = out[rule.part]
    numbers = None
    if rule.instances is not None:
        recipe = InstanceRecipe.model_validate(rule.instances)
        numbers = ObjectNumbers(recipe, linked=rule.volume)
    for plane in _planes(rule):
        if cancel is not None and cancel():
            return False
        quantised = array[(slice(None), *plane)]
        labels = decide_part(quantised, rule, settings)
        if numbers is not None:
            labels = numbers.number(labels > 0, np.ascontiguousarray(quantised[-1]))
        part[plane] = labels
    return True


_ROWS = 1 << 22


def _planes(rule: Rule) -> list[tuple[Any, ...]]:
    """Give the pieces to be decided one after the other."""
    shape = rule.stored_shape[1:]
    if rule.axis is not None:
        before = (slice(None),) * rule.axis
        return [(*before, k) for k in range(shape[rule.axis])]
    if rule.instances is not None:
        return [(slice(None),)]
    # A picture may be large.
    step = max(1, _ROWS // max(1, shape[1]))
    return [(slice(k, k + step),) for k in range(0, shape[0], step)]


def _take_larger(
    chosen: NDArray[Any],
    best: NDArray[np.float32],
    score: NDArray[np.float32],
    values: tuple[int, ...],
    channel: int,
) -> None:
    larger = score > best
    np.copyto(chosen, chosen.dtype.type(values[channel]), where=larger)
    np.maximum(best, score, out=best)


def _tables(rule: Rule, settings: Settings) -> list[NDArray[np.float32]]:
    """Return, per value, the score of each of the 256 steps.

    softmax(z / T) is p^(1/T) up to a common factor, which decides nothing;
    sigmoid(z / T) has the odds (p / (1 - p))^(1/T).
    """
    steps = np.arange(256) / 255
    tables = []
    for value in rule.values:
        weight = float(settings.weights.get(value, 1.0))
        score = steps
        if rule.activation == "softmax":
            score = weight * steps ** (1 / settings.temperature)
        elif weight != 1 or settings.temperature != 1:
            odds = (steps[:-1] / (1 - steps[:-1])) ** (1 / settings.temperature)
            score = np.append(weight * odds / (1 + weight * odds), 1.0)
        tables.append(score.astype(np.float32))
    return tables
