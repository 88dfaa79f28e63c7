"""One run under way: windows in, rows of the mask out, progress and cancellation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.errors import DeviceError
from napari_medurwkv.inference.ahead import Ahead
from napari_medurwkv.inference.decide import Decision
from napari_medurwkv.inference.instances import ObjectNumbers
from napari_medurwkv.inference.intensity import fit_intensity
from napari_medurwkv.inference.keep import (
    ChannelPlanes,
    ProbabilityTap,
    TappedWriter,
    UncertaintyTap,
)
from napari_medurwkv.inference.result import Progress
from napari_medurwkv.inference.ring import Ring, add_window, refuse_unless
from napari_medurwkv.inference.sinks import InstanceWriter, LabelWriter, MaskPlanes
from napari_medurwkv.inference.slices import bands_of_plane, windows_of_band
from napari_medurwkv.inference.streams import Streams
from napari_medurwkv.inference.views import MeanWriter, ViewSums, ViewWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.keep import Tap
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.inference.sinks import Region, Writer
    from napari_medurwkv.inference.slices import Source
    from napari_medurwkv.io import Image

__all__ = ["Extras", "Run"]

Window = tuple[int, int, int, "Tensor"]
"""Plane, row position, column position, network input."""


class _CancelledEarlyError(Exception):
    """Cancelled before the first window."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What a run leaves besides the mask.

    Attributes
    ----------
    probabilities : ndarray of uint8 or None
        Of `write_probabilities`, to be filled.
    uncertainty : array-like of uint8 or None
        Shape (measures, *display shape), to be filled.
    disagreement : bool
        Whether the predictor gives one more channel, which is the second measure.
    """

    probabilities: NDArray[np.uint8] | None = None
    uncertainty: Any = None
    disagreement: bool = False


class Run:
    """Computes the windows of one or more plans.

    Parameters
    ----------
    plans : sequence of Plan
        What there is to do: the views whose scores are averaged. The mask grows with
        the last one.
    labels : array-like
        The mask, in display order.
    model : Model
        Its card says what the network's output means.
    clock : float
        `time.perf_counter` when the run began.
    progress, cancel
        As for `segment`.

    Attributes
    ----------
    done : int
        Windows computed so far.
    windows : int
        Windows in all.
    doubts : tuple of ndarray of int64 or None
        Where uncertainty was asked for: per plane, row and column of the last plan, its
        steps added up.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        labels: Any,
        model: Model,
        clock: float,
        progress: Callable[[Progress], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self.done = 0
        self.windows = sum(plan.windows for plan in plans)
        self.doubts: tuple[NDArray[np.int64], ...] | None = None
        self._plans = tuple(plans)
        self._plan = plans[-1]
        self._labels = labels
        self._model = model
        self._clock = clock
        self._progress = progress
        self._cancel = cancel or (lambda: False)

    def work(
        self,
        image: Image,
        predictor: Predictor,
        instances: bool,
        extras: Extras | None = None,
    ) -> bool:
        """Compute all windows; return whether none is missing."""
        card, plan = self._model.card, self._plan
        extras = extras or Extras()
        try:
            scale = fit_intensity(
                card.intensity,
                plan.image_array(image),
                planes=plan.axis is not None,
                check=self._check,
            )
        except _CancelledEarlyError:
            return False
        fused = len(self._plans) > 1
        decision = Decision(
            card,
            interpolated=fused or plan.resampled,
            inside=instances,
            disagreement=extras.disagreement,
        )
        sums = None
        if fused:
            shape = tuple(end - first for first, end in plan.display_part)
            sums = ViewSums(decision.channels, shape, len(self._plans))
        for view in self._plans:
            outputs = len(card.output_values) + extras.disagreement
            ring = Ring(view.grid, outputs)
            writer: Writer
            if sums is not None and view is not plan:
                writer = ViewWriter(sums, view)
            else:
                writer = self._writer(decision, instances, ring, extras)
                if sums is not None:
                    writer = MeanWriter(sums, plan, writer)
            source = view.source(image, card, scale)
            if not self._look(view, source, ring, decision, writer, predictor):
                return False
        return True

    def _look(
        self,
        plan: Plan,
        source: Source,
        ring: Ring,
        decision: Decision,
        writer: Writer,
        predictor: Predictor,
    ) -> bool:
        """Compute the windows of one view; return whether none is missing."""
        before = self.done
        sink = plan.sink(writer)
        values = decision.direct if plan.whole and not plan.resampled else None
        streams = Streams(predictor.device)
        bands: Iterable[tuple[int, int, Tensor]] = _bands(plan, source, False)
        ahead: Ahead[tuple[int, int, Tensor]] | None = None
        if predictor.device.startswith("cuda"):
            # The GPU does not wait for rows to be read and scaled.
            bands = ahead = Ahead(_bands(plan, source, True))
        try:
            with torch.inference_mode():
                windows = _windows(plan, bands, predictor, streams)
                for batch in self._batches(windows, predictor):
                    logits = predictor([window for *_, window in batch])
                    with streams.beside(logits):
                        for (plane, row, column, _), one in zip(
                            batch, logits, strict=True
                        ):
                            ready = add_window(ring, predictor, (row, column), one)
                            final: list[Region] = []
                            if ready is None:
                                pass
                            elif (
                                values is not None
                                and ring.device.type == "cpu"
                                and isinstance(writer, LabelWriter)
                            ):
                                labels = ring.labels(*ready, values)
                                final = writer.write_labels(plane, *ready, labels)
                            else:
                                scores = decision.scores(ring.take(*ready))
                                final = sink.put(plane, *ready, scores)
                            self.done += 1
                            self._tell(final)
                final = writer.finish()
                # On a GPU, a view that is only added up has not been asked yet.
                streams.join()
                refuse_unless(bool(ring.sound))
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                "The GPU ran out of memory beside the network; close other programs "
                "that use it, or choose cpu."
            ) from error
        finally:
            streams.join()
            if ahead is not None:
                ahead.close()
        if final:
            self._tell(final)
        return self.done - before == plan.windows

    def _writer(
        self, decision: Decision, instances: bool, ring: Ring, extras: Extras
    ) -> Writer:
        plan = self._plan
        out = MaskPlanes(self._labels, plan.axis, plan.part[1], plan.part[2])
        recipe = self._model.card.instances
        writer: Writer
        if instances and recipe is not None:
            numbers = ObjectNumbers(recipe, linked=plan.volume)
            writer = InstanceWriter(out, decision, numbers, lambda: ring.sound)
        else:
            writer = LabelWriter(out, decision, lambda: ring.sound)
        taps: list[Tap] = []
        if extras.probabilities is not None:
            planes = ChannelPlanes(extras.probabilities, plan, whole=False)
            taps.append(ProbabilityTap(planes, decision))
        if extras.uncertainty is not None:
            doubts = UncertaintyTap(extras.uncertainty, plan, decision)
            self.doubts = doubts.sums
            taps.append(doubts)
        return TappedWriter(writer, taps) if taps else writer

    def _batches(
        self, windows: Iterator[Window], predictor: Predictor
    ) -> Iterator[list[Window]]:
        """Group windows; stop at once when the run is cancelled."""
        batch: list[Window] = []
        while True:
            if self._cancel():
                return
            window = next(windows, None)
            if window is not None:
                batch.append(window)
            full = len(batch) >= predictor.windows_at_once
            if batch and (window is None or full):
                yield batch
                batch = []
            if window is None:
                return

    def _check(self) -> None:
        if self._cancel():
            raise _CancelledEarlyError

    def _tell(self, final: list[Region]) -> None:
        if self._progress is None:
            return
        seconds = time.perf_counter() - self._clock
        regions = [self._plan.display_region(r) for r in final]
        for region in regions or (None,):
            self._progress(Progress(self.done, self.windows, region, seconds))


def _bands(
    plan: Plan, source: Source, pinned: bool
) -> Iterator[tuple[int, int, Tensor]]:
    for plane in plan.planes:
        for row, band in bands_of_plane(
            source, plane, plan.grid, origin=plan.origin, pinned=pinned
        ):
            yield plane, row, band


def _windows(
    plan: Plan,
    bands: Iterable[tuple[int, int, Tensor]],
    predictor: Predictor,
    streams: Streams,
) -> Iterator[Window]:
    for plane, row, rows in bands:
        # Once for all windows of the band, to where the network is now.
        band = streams.bring(rows, predictor.device)
        for column, window in windows_of_band(band, plan.grid):
            yield plane, row, column, window
