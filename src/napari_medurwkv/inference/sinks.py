"""From finished rows of working planes back to the image's own grid and into the mask.

Everything works on rows of planes: a plane counts along the stepped axis of the image,
rows and columns along the other two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from napari_medurwkv.inference.pending import Pending
from napari_medurwkv.inference.resample import resample
from napari_medurwkv.inference.ring import refuse_unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.inference.decide import Decision
    from napari_medurwkv.inference.instances import ObjectNumbers
    from napari_medurwkv.inference.resample import Taps

__all__ = [
    "InstanceWriter",
    "LabelWriter",
    "MaskPlanes",
    "Region",
    "RowSink",
    "VolumeSink",
]


@dataclass(frozen=True, slots=True)
class Region:
    """Rows [first, end) of one plane of the mask, now final."""

    plane: int
    first: int
    end: int


class MaskPlanes:
    """A mask in display order, seen as (planes, rows, columns).

    Parameters
    ----------
    mask : array-like
        A NumPy array, or anything with shape, dtype and assignment to slices, such as
        zarr.
    axis : int or None
        Display axis that counts planes; None for a picture.
    rows, columns : tuple of int
        First and end row and column of the part that is written; rows are counted from
        there.
    """

    def __init__(
        self,
        mask: Any,
        axis: int | None,
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> None:
        self._mask = mask
        self._axis = axis
        self._row = rows[0]
        self._columns = slice(*columns)
        planes = 1 if axis is None else mask.shape[axis]
        self.shape = (planes, rows[1] - rows[0], columns[1] - columns[0])

    def put(self, plane: int, first: int, end: int, labels: NDArray[Any]) -> None:
        """Write rows [first, end) of a plane."""
        index: list[Any] = [slice(self._row + first, self._row + end), self._columns]
        if self._axis is not None:
            index.insert(self._axis, plane)
        self._mask[tuple(index)] = labels


class Writer(Protocol):
    """Turns scores on the image's grid into a part of the mask."""

    def write(self, plane: int, first: int, end: int, scores: Tensor) -> list[Region]:
        """Take rows of one plane; return what is final now."""
        ...

    def finish(self) -> list[Region]:
        """Use what has come; nothing more will."""
        ...


class LabelWriter:
    """Writes class values.

    Values that are chosen on a GPU come to the host while it computes on: rows are
    final a little later than they are written.

    Parameters
    ----------
    out : MaskPlanes
        The mask.
    decision : Decision
        How scores become values.
    sound : callable
        Gives `Ring.sound`: no row is final that was made of undefined numbers.
    """

    def __init__(
        self, out: MaskPlanes, decision: Decision, sound: Callable[[], Tensor]
    ) -> None:
        self._out = out
        self._decision = decision
        self._sound = sound
        self._pending = Pending()

    def write(self, plane: int, first: int, end: int, scores: Tensor) -> list[Region]:
        """Take rows of one plane; return what is final now."""
        if scores.device.type == "cpu":
            labels = self._decision.labels(scores)
            return self.write_labels(plane, first, end, labels)
        chosen = self._decision.choose(scores)

        def take(labels: Tensor, sound: Tensor) -> list[Region]:
            refuse_unless(bool(sound))
            self._out.put(plane, first, end, labels.numpy())
            return [Region(plane, first, end)]

        self._pending.order((chosen, self._sound()), take)
        return self._collect(everything=False)

    def write_labels(
        self, plane: int, first: int, end: int, labels: NDArray[Any]
    ) -> list[Region]:
        """Take rows of one plane that have been decided; they are final at once."""
        earlier = self._collect(everything=True)
        self._out.put(plane, first, end, labels)
        return [*earlier, Region(plane, first, end)]

    def finish(self) -> list[Region]:
        """Wait for what is under way."""
        return self._collect(everything=True)

    def _collect(self, *, everything: bool) -> list[Region]:
        found = self._pending.collect(everything=everything)
        return [region for regions in found for region in regions]


class InstanceWriter:
    """Writes object numbers, plane by plane.

    Of each plane only the foreground and, in 255 steps, the interior probability are
    kept until its last row has come: two bytes per pixel. Numbers go on from plane to
    plane.

    Parameters
    ----------
    out : MaskPlanes
        The mask, of int32.
    decision : Decision
        How scores become foreground and interior.
    numbers : ObjectNumbers
        Tells objects apart.
    sound : callable
        As for `LabelWriter`.
    """

    def __init__(
        self,
        out: MaskPlanes,
        decision: Decision,
        numbers: ObjectNumbers,
        sound: Callable[[], Tensor],
    ) -> None:
        self._sound = sound
        self._out = out
        self._decision = decision
        self._numbers = numbers
        shape = out.shape[1:]
        self._foreground = np.zeros(shape, bool)
        self._inside = np.zeros(shape, np.uint8)
        self._plane = 0
        self._rows = 0

    def write(self, plane: int, first: int, end: int, scores: Tensor) -> list[Region]:
        """Take rows of one plane; with its last row, the plane is final."""
        self._foreground[first:end] = self._decision.labels(scores) > 0
        self._inside[first:end] = self._decision.inside(scores)
        refuse_unless(bool(self._sound()))
        self._plane, self._rows = plane, end
        return self.finish() if end == self._out.shape[1] else []

    def finish(self) -> list[Region]:
        """Separate the objects in the rows that have come."""
        if not self._rows:
            return []
        rows, self._rows = self._rows, 0
        objects = self._numbers.number(self._foreground[:rows], self._inside[:rows])
        self._out.put(self._plane, 0, rows, objects)
        return [Region(self._plane, 0, rows)]


class RowSink:
    """Brings rows of independent planes to the image's grid as they come.

    Parameters
    ----------
    rows, columns : Taps
        From the working grid to the image's grid.
    writer : Writer
        Takes the scores there.
    """

    def __init__(self, rows: Taps, columns: Taps, writer: Writer) -> None:
        self._rows = rows
        self._columns = columns
        self._writer = writer
        self._held: Tensor | None = None
        self._first = 0
        self._made = 0

    def put(self, plane: int, first: int, end: int, scores: Tensor) -> list[Region]:
        """Take working rows [first, end), which follow those that came before.

        Parameters
        ----------
        plane, first, end : int
            Which rows of which plane.
        scores : Tensor of float32, shape (scores, end - first, columns)
            From `Decision.scores`.

        Returns
        -------
        list of Region
            What has become final.
        """
        if self._rows.identity and self._columns.identity:
            return self._writer.write(plane, first, end, scores)
        if self._held is not None:
            scores = torch.cat([self._held.to(scores.device), scores], dim=1)
        start = self._first
        made = self._rows.ready(end)
        final: list[Region] = []
        if made > self._made:
            part = resample(
                scores, self._rows, 1, first=self._made, end=made, offset=start
            )
            part = resample(part, self._columns, 2)
            final = self._writer.write(plane, self._made, made, part)
        if made == self._rows.outputs:
            self._held, self._first, self._made = None, 0, 0
        else:
            needed = self._rows.span(made, made + 1)[0]
            # Where a part is wanted, its first row may not have come yet.
            keep = min(max(needed, start), end)
            self._held = scores[:, keep - start :].clone()
            self._first, self._made = keep, made
        return final


class VolumeSink:
    """Brings planes of a volume to the image's grid, first across planes.

    Two working planes are kept: each slice of the image lies between two of them.

    Parameters
    ----------
    planes, rows, columns : Taps
        From the working grid to the image's grid.
    writer : Writer
        Takes the scores there.
    part : tuple of int, optional
        First and end plane of the image's grid that are wanted; all by default.
    """

    def __init__(
        self,
        planes: Taps,
        rows: Taps,
        columns: Taps,
        writer: Writer,
        part: tuple[int, int] | None = None,
    ) -> None:
        first, self._end = (0, planes.outputs) if part is None else part
        self._planes = planes
        self._rows = rows
        self._columns = columns
        self._writer = writer
        self._parts: list[Tensor] = []
        self._held: dict[int, Tensor] = {}
        self._made = first

    @property
    def held(self) -> int:
        """How many working planes are in memory."""
        return len(self._held)

    def put(self, plane: int, first: int, end: int, scores: Tensor) -> list[Region]:
        """Take working rows, as `RowSink.put`; a plane counts when it is complete."""
        self._parts.append(scores)
        if end < self._rows.inputs:
            return []
        device = scores.device
        self._held[plane] = torch.cat([p.to(device) for p in self._parts], dim=1)
        self._parts = []
        made = max(self._made, min(self._planes.ready(plane + 1), self._end))
        final: list[Region] = []
        for k in range(self._made, made):
            mix = torch.zeros_like(self._held[plane])
            for i, weight in self._planes.pairs(k):
                mix.add_(self._held[i].to(device), alpha=weight)
            mix = resample(mix, self._rows, 1)
            mix = resample(mix, self._columns, 2)
            final += self._writer.write(k, 0, self._rows.outputs, mix)
        self._made = made
        if made < self._end:
            needed = min(i for i, _ in self._planes.pairs(made))
            for i in [i for i in self._held if i < needed]:
                del self._held[i]
        return final
