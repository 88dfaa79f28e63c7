"""What is taken from a run's scores besides the mask: probabilities and uncertainty."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from napari_medurwkv.inference.pending import Pending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.inference.decide import Decision
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.sinks import Region, Writer

__all__ = [
    "ChannelPlanes",
    "ProbabilityTap",
    "Tap",
    "TappedWriter",
    "UncertaintyTap",
    "disagreement",
    "entropy",
    "quantise",
]


class Tap(Protocol):
    """Takes something from scores on the image's grid."""

    def take(self, scores: Tensor) -> Tensor:
        """Return uint8 of shape (channels, rows, columns), where the scores lie."""
        ...

    def put(self, plane: int, first: int, steps: NDArray[np.uint8]) -> None:
        """Keep what was taken, on the host; rows are counted as those of a writer."""
        ...


class TappedWriter:
    """Hands scores on to a writer, after taps have had them.

    Parameters
    ----------
    writer : Writer
        Makes the mask.
    taps : sequence of Tap
        Take the rest; on a GPU beside the computation, as labels are.
    """

    def __init__(self, writer: Writer, taps: Sequence[Tap]) -> None:
        self._writer = writer
        self._taps = tuple(taps)
        self._pending = Pending()

    def write(self, plane: int, first: int, end: int, scores: Tensor) -> list[Region]:
        """Take rows of one plane; return what of the mask is final now."""
        for tap in self._taps:
            self._pending.order((tap.take(scores),), _putter(tap, plane, first))
        self._pending.collect()
        return self._writer.write(plane, first, end, scores)

    def finish(self) -> list[Region]:
        """Wait for what is under way."""
        self._pending.collect(everything=True)
        return self._writer.finish()


def _putter(tap: Tap, plane: int, first: int) -> Any:
    return lambda steps: tap.put(plane, first, steps.numpy())


class ChannelPlanes:
    """An array (channels, display axes) seen as (channels, planes, rows, columns).

    Parameters
    ----------
    array : array-like
        Anything with assignment to slices.
    plan : Plan
        Whose planes, rows and columns are meant.
    whole : bool
        Whether the array covers the whole image, or the plan's part of it only.
    """

    def __init__(self, array: Any, plan: Plan, *, whole: bool) -> None:
        self._array = array
        self._axis = plan.axis
        planes, rows, columns = plan.part
        self._plane = 0 if whole else -planes[0]
        self._row = rows[0] if whole else 0
        self._column = columns[0] if whole else 0

    def place(self, plane: int, first: int, shape: tuple[int, ...]) -> tuple[Any, ...]:
        """Return the index of rows of a plane; `shape` ends with rows and columns."""
        rows, columns = shape[-2:]
        row = self._row + first
        index: list[Any] = [
            slice(row, row + rows),
            slice(self._column, self._column + columns),
        ]
        if self._axis is not None:
            index.insert(self._axis, self._plane + plane)
        return (slice(None), *index)

    def put(self, plane: int, first: int, values: NDArray[Any]) -> None:
        """Write rows of a plane."""
        self._array[self.place(plane, first, values.shape)] = values


class ProbabilityTap:
    """Keeps the probability of each mask value in 255 steps.

    Parameters
    ----------
    planes : ChannelPlanes
        Where.
    decision : Decision
        What the scores mean.
    """

    def __init__(self, planes: ChannelPlanes, decision: Decision) -> None:
        self._planes = planes
        self._decision = decision

    def take(self, scores: Tensor) -> Tensor:
        """Round probabilities."""
        return quantise(self._decision, scores)

    def put(self, plane: int, first: int, steps: NDArray[np.uint8]) -> None:
        """Write them."""
        self._planes.put(plane, first, steps)


def quantise(decision: Decision, scores: Tensor) -> Tensor:
    """Round probabilities to 255 steps that still say what the scores say.

    Where rounding makes two values equal, the one that lost goes one step down; where
    it moves one across the card's threshold, it stays on its own side. So the mask that
    is decided from the steps is that of the scores.

    Parameters
    ----------
    decision : Decision
        What the scores mean.
    scores : Tensor, shape (scores, rows, columns)
        From `Decision.scores`, perhaps interpolated.

    Returns
    -------
    Tensor of uint8, shape (values or values + 1, rows, columns)
        One channel per mask value, ascending; then the probability of object interiors
        where it was asked for.
    """
    chances = decision.probabilities(scores)
    steps = (chances * 255).round_().to(torch.int16)
    count = len(decision.values)
    # Where the largest logit decides, probabilities may be equal that logits are not.
    judged = scores[:count]
    first = 0
    if not decision.softmax:
        first = 1 if decision.values[0] == 0 else 0
    if first < count:
        own = steps[first:]
        best = judged[first:].max(0).indices[None]
        top = own.gather(0, best)
        if not decision.softmax:
            cut = math.floor(decision.threshold * 255)
            marked = judged[first:].gather(0, best) > decision.threshold
            top = torch.where(marked, top.clamp_min(cut + 1), top.clamp_max(cut))
        others = torch.where(own >= top, (top - 1).clamp_min(0), own)
        own.copy_(others.scatter(0, best, top))
    kept = [steps.to(torch.uint8)]
    inside = decision.inside_steps(scores)
    if inside is not None:
        kept.append(inside[None])
    return torch.cat(kept)


class UncertaintyTap:
    """Keeps how unsure the network is of each voxel, and sums of it per slice.

    Parameters
    ----------
    array : array-like of uint8, shape (measures, *display shape)
        Gets the entropy; then, where there is a second channel, the disagreement.
    plan : Plan
        Whose planes come.
    decision : Decision
        What the scores mean.

    Attributes
    ----------
    sums : tuple of ndarray of int64
        Per plane, row and column of the image's grid: the entropy's steps added up.
    """

    def __init__(self, array: Any, plan: Plan, decision: Decision) -> None:
        self._planes = ChannelPlanes(array, plan, whole=True)
        self._decision = decision
        self._plan = plan
        self.sums = tuple(np.zeros(n, np.int64) for n in plan.native)

    def take(self, scores: Tensor) -> Tensor:
        """Compute and round."""
        found = [entropy(self._decision, scores)]
        spread = self._decision.disagreement(scores)
        if spread is not None:
            found.append(spread.clamp(0, 1))
        return (torch.stack(found) * 255).round_().to(torch.uint8)

    def put(self, plane: int, first: int, steps: NDArray[np.uint8]) -> None:
        """Write, and add up."""
        self._planes.put(plane, first, steps)
        (_, (above, _), (beside, _)) = self._plan.part
        rows, columns = steps.shape[1:]
        by_plane, by_row, by_column = self.sums
        in_rows = steps[0].sum(1, dtype=np.int64)
        by_plane[plane] += in_rows.sum()
        by_row[above + first : above + first + rows] += in_rows
        by_column[beside : beside + columns] += steps[0].sum(0, dtype=np.int64)


def entropy(decision: Decision, scores: Tensor) -> Tensor:
    """Normalised entropy of each pixel: 0 where the network is sure, at most 1.

    softmax: the entropy of the mask values' probabilities over the logarithm of their
    number. sigmoid: of each foreground value, the entropy of yes and no in bits; the
    largest of them.

    Parameters
    ----------
    decision, scores
        As for `quantise`.

    Returns
    -------
    Tensor of float32, shape (rows, columns)
    """
    chances = decision.probabilities(scores).clamp(0, 1)
    if decision.softmax:
        count = max(2, len(chances))
        total: Tensor = torch.special.entr(chances).sum(0)
        return total.div_(math.log(count)).clamp_(0, 1)
    first = 1 if decision.values[0] == 0 and len(decision.values) > 1 else 0
    own = chances[first:]
    bits: Tensor = torch.special.entr(own) + torch.special.entr(1 - own)
    return bits.amax(0).div_(math.log(2)).clamp_(0, 1)


def disagreement(each: Sequence[Tensor], *, softmax: bool) -> Tensor:
    """How far the answers to mirror images of a window are apart.

    softmax: half the sum of the absolute differences between an answer's probabilities
    and their mean (the total variation distance), averaged over the answers. sigmoid:
    the largest absolute difference of an output instead.

    Parameters
    ----------
    each : sequence of Tensor, shape (windows, outputs, *patch)
        Logits, mirrored back.
    softmax : bool
        Whether the outputs exclude each other.

    Returns
    -------
    Tensor, shape (windows, 1, *patch)
        0 to 1.
    """
    answers = [one.softmax(1) if softmax else one.sigmoid() for one in each]
    mean = torch.stack(answers).mean(0)
    total = torch.zeros_like(mean[:, :1])
    for answer in answers:
        apart = (answer - mean).abs_()
        total += apart.sum(1, True) / 2 if softmax else apart.amax(1, True)
    return total.div_(len(answers))
