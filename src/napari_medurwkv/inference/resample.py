"""Linear resampling of one axis at a time, whole or as a stream of slabs.

Grids share their outer borders: index i of n points lies at (i + 0.5) / n of the axis,
so nothing shifts by parts of a voxel (torch calls this ``align_corners=False``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Taps", "box_taps", "linear_taps", "resample", "triangle_taps"]


@dataclass(frozen=True, slots=True)
class Taps:
    """Which input points make each output point of an axis.

    Attributes
    ----------
    index : ndarray of int64, shape (outputs, taps)
        Input points; unused taps repeat a used one and weigh 0.
    weight : ndarray of float32, shape (outputs, taps)
        Their weights; each row adds up to 1.
    inputs : int
        Points of the input axis.
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float32]
    inputs: int

    @property
    def outputs(self) -> int:
        """Points of the output axis."""
        return len(self.index)

    @property
    def identity(self) -> bool:
        """Whether the axis stays as it is."""
        return self.outputs == self.inputs and self.index.shape[1] == 1

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Return the inputs [low, high) that outputs [first, end) are made from."""
        part = self.index[first:end]
        return int(part.min()), int(part.max()) + 1

    def part(self, first: int, end: int, origin: int, inputs: int) -> Taps:
        """Keep outputs [first, end) of an input that begins at `origin`.

        Parameters
        ----------
        first, end : int
            Outputs that become 0, 1, ...
        origin, inputs : int
            First point of the input that is there, and how many there are.
        """
        index, weight = self.index[first:end], self.weight[first:end]
        return Taps(index - origin, weight, inputs)

    def used(self) -> NDArray[np.int64]:
        """Return the input points that any output is made from, ascending."""
        used: NDArray[np.int64] = np.unique(self.index)
        return used

    def ready(self, available: int) -> int:
        """Return how many outputs can be made of the first `available` inputs."""
        # The last input of successive outputs never decreases.
        return int(np.searchsorted(self.index.max(axis=1), available, side="left"))

    def pairs(self, output: int) -> list[tuple[int, float]]:
        """Return the (input, weight) pairs of one output, without zeros."""
        return [
            (int(i), float(w))
            for i, w in zip(self.index[output], self.weight[output], strict=True)
            if w
        ]


def _identity(points: int) -> Taps:
    return Taps(np.arange(points)[:, None], np.ones((points, 1), np.float32), points)


def _taps(first: NDArray[np.int64], weight: NDArray[np.float64], inputs: int) -> Taps:
    """Drop weights outside the axis, normalise, and close up."""
    index = first[:, None] + np.arange(weight.shape[1])
    # A weight that is only rounding must not ask for one more input.
    weight = np.where((index >= 0) & (index < inputs) & (weight > 1e-7), weight, 0)
    weight /= weight.sum(axis=1, keepdims=True)
    # An unused tap points at the heaviest input: it then asks for nothing new.
    heaviest = np.take_along_axis(index, weight.argmax(axis=1)[:, None], axis=1)
    index = np.where(weight > 0, index, heaviest)
    return Taps(index.astype(np.int64), weight.astype(np.float32), inputs)


def linear_taps(inputs: int, outputs: int) -> Taps:
    """Interpolate linearly between the two neighbours of each output's centre."""
    if inputs == outputs:
        return _identity(inputs)
    # Exact in whole numbers: position = ((2 i + 1) inputs - outputs) / (2 outputs).
    place = (2 * np.arange(outputs) + 1) * inputs - outputs
    place = np.clip(place, 0, (inputs - 1) * 2 * outputs)
    first = place // (2 * outputs)
    fraction = (place - first * 2 * outputs) / (2 * outputs)
    return _taps(first, np.stack([1 - fraction, fraction], axis=1), inputs)


def triangle_taps(inputs: int, outputs: int) -> Taps:
    """Interpolate linearly; where points get fewer, widen the triangle to the new step.

    The same as torch's ``interpolate(mode="bilinear", antialias=True)``.
    """
    if inputs <= outputs:
        return linear_taps(inputs, outputs)
    step = inputs / outputs
    centre = (np.arange(outputs) + 0.5) * step
    first = np.floor(centre - step).astype(np.int64)
    reach = np.arange(math.ceil(2 * step) + 2)
    offset = first[:, None] + reach + 0.5 - centre[:, None]
    return _taps(first, np.maximum(0, 1 - np.abs(offset) / step), inputs)


def box_taps(inputs: int, outputs: int) -> Taps:
    """Average over each output's extent; interpolate linearly where points get more."""
    if inputs <= outputs:
        return linear_taps(inputs, outputs)
    # In units of 1 / outputs of an input point, to stay in whole numbers.
    low = np.arange(outputs) * inputs
    first = low // outputs
    index = first[:, None] + np.arange(-(-inputs // outputs) + 1)
    overlap = np.minimum((index + 1) * outputs, (low + inputs)[:, None]) - np.maximum(
        index * outputs, low[:, None]
    )
    return _taps(first, np.maximum(0, overlap).astype(float), inputs)


def resample(
    data: Tensor,
    taps: Taps,
    axis: int,
    *,
    first: int = 0,
    end: int | None = None,
    offset: int = 0,
) -> Tensor:
    """Make outputs [first, end) of one axis.

    Parameters
    ----------
    data : Tensor of float32
        Input, or the part of it that begins at `offset` along `axis`.
    taps : Taps
        What to make of what.
    axis : int
        Axis of `data`.
    first, end : int
        Outputs to make; all by default.
    offset : int
        Input index of the first element of `data`.

    Returns
    -------
    Tensor of float32
        `data` itself where nothing changes.
    """
    end = taps.outputs if end is None else end
    if taps.identity:
        return data.narrow(axis, first - offset, end - first)
    shape = [1] * data.ndim
    shape[axis] = end - first
    index = torch.from_numpy(taps.index[first:end] - offset).to(data.device)
    weight = torch.from_numpy(taps.weight[first:end]).to(data.device)
    result: Tensor | None = None
    for tap in range(index.shape[1]):
        part = data.index_select(axis, index[:, tap])
        part *= weight[:, tap].reshape(shape)
        result = part if result is None else result.add_(part)
    if result is None:
        raise ValueError("taps without a tap")
    return result
