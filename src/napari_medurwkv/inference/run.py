"""One run under way: windows in, rows of the mask out, progress and cancellation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.errors import DeviceError
from napari_medurwkv.inference.ahead import Ahead
from napari_medurwkv.inference.decide import Decision
from napari_medurwkv.inference.intensity import fit_intensity
from napari_medurwkv.inference.result import Progress
from napari_medurwkv.inference.ring import Ring, add_window
from napari_medurwkv.inference.sinks import InstanceWriter, LabelWriter, MaskPlanes
from napari_medurwkv.inference.slices import bands_of_plane, windows_of_band
from napari_medurwkv.inference.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.inference.sinks import Region
    from napari_medurwkv.inference.slices import Source
    from napari_medurwkv.io import Image

__all__ = ["Run"]

Window = tuple[int, int, int, "Tensor"]
"""Plane, row position, column position, network input."""


class _CancelledEarlyError(Exception):
    """Cancelled before the first window."""


class Run:
    """Computes the windows of a plan.

    Parameters
    ----------
    plan : Plan
        What there is to do.
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
    """

    def __init__(
        self,
        plan: Plan,
        labels: Any,
        model: Model,
        clock: float,
        progress: Callable[[Progress], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self.done = 0
        self._plan = plan
        self._labels = labels
        self._model = model
        self._clock = clock
        self._progress = progress
        self._cancel = cancel or (lambda: False)

    def work(self, image: Image, predictor: Predictor, instances: bool) -> bool:
        """Compute all windows; return whether none is missing."""
        card, plan = self._model.card, self._plan
        try:
            scale = fit_intensity(
                card.intensity,
                plan.image_array(image),
                planes=plan.axis is not None,
                check=self._check,
            )
        except _CancelledEarlyError:
            return False
        source = plan.source(image, card, scale)
        decision = Decision(card, interpolated=plan.resampled, inside=instances)
        ring = Ring(plan.grid, len(card.output_values))
        writer = self._writer(decision, instances, ring)
        sink = plan.sink(writer)
        values = decision.direct if plan.whole and not plan.resampled else None
        streams = Streams(predictor.device)

        bands: Iterable[tuple[int, int, Tensor]] = self._bands(source, False)
        ahead: Ahead[tuple[int, int, Tensor]] | None = None
        if predictor.device.startswith("cuda"):
            # The GPU does not wait for rows to be read and scaled.
            bands = ahead = Ahead(self._bands(source, True))
        try:
            with torch.inference_mode():
                windows = self._windows(bands, predictor, streams)
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
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                "The GPU ran out of memory beside the network; close other programs "
                "that use it, or choose cpu."
            ) from error
        finally:
            if ahead is not None:
                ahead.close()
        final = writer.finish()
        if final:
            self._tell(final)
        return self.done == plan.windows

    def _writer(
        self, decision: Decision, instances: bool, ring: Ring
    ) -> LabelWriter | InstanceWriter:
        plan = self._plan
        out = MaskPlanes(self._labels, plan.axis, plan.part[1], plan.part[2])
        recipe = self._model.card.instances
        if instances and recipe is not None:
            return InstanceWriter(out, decision, recipe, lambda: ring.sound)
        return LabelWriter(out, decision, lambda: ring.sound)

    def _bands(self, source: Source, pinned: bool) -> Iterator[tuple[int, int, Tensor]]:
        plan = self._plan
        for plane in plan.planes:
            for row, band in bands_of_plane(
                source, plane, plan.grid, origin=plan.origin, pinned=pinned
            ):
                yield plane, row, band

    def _windows(
        self,
        bands: Iterable[tuple[int, int, Tensor]],
        predictor: Predictor,
        streams: Streams,
    ) -> Iterator[Window]:
        for plane, row, rows in bands:
            # Once for all windows of the band, to where the network is now.
            band = streams.bring(rows, predictor.device)
            for column, window in windows_of_band(band, self._plan.grid):
                yield plane, row, column, window

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
            self._progress(Progress(self.done, self._plan.windows, region, seconds))
