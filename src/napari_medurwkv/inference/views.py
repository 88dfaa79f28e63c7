"""Orthogonal views: probabilities of slices cut three ways, averaged voxel by voxel.

A 2D network sees a volume slice by slice; cut another way, its mistakes are others. All
views are brought to the image's own grid before they are averaged, so they are averaged
where they lie in the world.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medurwkv.errors import OutputError
from napari_medurwkv.inference.keep import ChannelPlanes
from napari_medurwkv.inference.pending import Pending
from napari_medurwkv.inference.probabilities import take_room

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.sinks import Region, Writer

__all__ = ["MeanWriter", "ViewSums", "ViewWriter"]

_IN_MEMORY = 256 * 2**20


class ViewSums:
    """The scores of the views so far, added up in 16 bits.

    Large ones lie in a file that is mapped, so memory grows with what is being written.

    Parameters
    ----------
    channels : int
        Scores of each voxel, each from 0 to 1.
    shape : tuple of int
        Of the part of the image, in display order.
    views : int
        How many views there will be.
    in_memory : int
        Bytes up to which no file is used.

    Raises
    ------
    OutputError
        If there is no room for the file.
    """

    def __init__(
        self,
        channels: int,
        shape: tuple[int, ...],
        views: int,
        in_memory: int = _IN_MEMORY,
    ) -> None:
        self.views = views
        self._steps = 65535 // views
        full = (channels, *shape)
        size = 2 * int(np.prod(full, dtype=np.int64))
        self._array: NDArray[np.uint16]
        if size <= in_memory:
            self._array = np.zeros(full, np.uint16)
            return
        try:
            with tempfile.TemporaryFile() as file:
                take_room(file.fileno(), 0, size)
                self._array = np.memmap(file, np.uint16, "r+", 0, full)
        except OSError as error:
            raise OutputError(
                f"The temporary folder has no room for the {size / 1e9:.1f} GB that "
                "several views need; free some, set TMPDIR to another disk, or choose "
                "one view."
            ) from error

    @property
    def mapped(self) -> bool:
        """Whether they lie in a file."""
        return isinstance(self._array, np.memmap)

    def add(
        self, planes: ChannelPlanes, plane: int, first: int, scores: Tensor
    ) -> None:
        """Add rows of a plane, which lie on the host."""
        steps = (scores * self._steps).round_().to(torch.int32).numpy()
        place = planes.place(plane, first, steps.shape)
        self._array[place] += steps.astype(np.uint16)

    def mean(
        self, planes: ChannelPlanes, plane: int, first: int, scores: Tensor
    ) -> Tensor:
        """Return the mean of what was added and the scores of the last view."""
        place = planes.place(plane, first, tuple(scores.shape))
        before = torch.from_numpy(self._array[place].astype(np.float32))
        before = before.to(scores.device).div_(self._steps)
        return before.add_(scores).div_(self.views)

    def planes(self, plan: Plan) -> ChannelPlanes:
        """Return how a plan's planes lie in the sums."""
        return ChannelPlanes(self._array, plan, whole=False)


class ViewWriter:
    """Adds the scores of a view; nothing is final yet.

    Parameters
    ----------
    sums : ViewSums
        Where.
    plan : Plan
        Of the view.
    """

    def __init__(self, sums: ViewSums, plan: Plan) -> None:
        self._sums = sums
        self._planes = sums.planes(plan)
        self._pending = Pending()

    def write(self, plane: int, first: int, end: int, scores: Tensor) -> list[Region]:
        """Take rows of one plane."""

        def take(arrived: Tensor) -> None:
            self._sums.add(self._planes, plane, first, arrived)

        self._pending.order((scores,), take)
        self._pending.collect()
        return []

    def finish(self) -> list[Region]:
        """Wait for what is under way."""
        self._pending.collect(everything=True)
        return []


class MeanWriter:
    """Hands on the mean of all views, as the last one comes.

    Parameters
    ----------
    sums : ViewSums
        Of the other views.
    plan : Plan
        Of the last one.
    writer : Writer
        Makes the mask.
    """

    def __init__(self, sums: ViewSums, plan: Plan, writer: Writer) -> None:
        self._sums = sums
        self._planes = sums.planes(plan)
        self._writer = writer

    def write(self, plane: int, first: int, end: int, scores: Tensor) -> list[Region]:
        """Take rows of one plane; return what of the mask is final now."""
        mean = self._sums.mean(self._planes, plane, first, scores)
        return self._writer.write(plane, first, end, mean)

    def finish(self) -> list[Region]:
        """Use what has come."""
        return self._writer.finish()
