"""One run: from the click to a finished, partial, failed or withdrawn mask."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medurwkv.errors import CancelledError
from napari_medurwkv.inference.mask_folder import new_mask_path
from napari_medurwkv.io.pyramid_mask import PyramidMask
from napari_medurwkv.widgets.background import Outcome, in_napari_worker
from napari_medurwkv.widgets.mask_measures import measure_mask
from napari_medurwkv.widgets.original import PackedLabels
from napari_medurwkv.widgets.result_layer import (
    labels_dtype,
    make_labels_layer,
    object_features,
    spatial_state,
)
from napari_medurwkv.widgets.run_request import RunEnd, RunRequest
from napari_medurwkv.widgets.uncertainty_layer import (
    add_uncertainty,
    uncertainty_arrays,
    uncertainty_summary,
)

if TYPE_CHECKING:
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medurwkv.inference import Progress, Segmentation
    from napari_medurwkv.measure import ClassMeasure
    from napari_medurwkv.provenance import RunRecord
    from napari_medurwkv.widgets.layer_image import LayerImage
    from napari_medurwkv.widgets.shared_engine import Engine

__all__ = ["RunEnd", "RunRequest", "SegmentRun"]

_POLL_MS = 100
_TELL_S = 0.5
# A refresh may take this part of the time between two, so that the window stays quick.
_REFRESH_SHARE = 0.1
# Above this, a refresh in 3D sends so much to the graphics card that it would be felt.
_LARGEST_3D_REFRESH = 8 << 20


@dataclass(frozen=True, slots=True)
class _Work:
    """What the thread hands back."""

    segmentation: Segmentation
    original: PackedLabels | None
    measures: tuple[ClassMeasure, ...]
    highest: int
    records: tuple[RunRecord, ...]
    doubts: tuple[tuple[str, NDArray[Any]], ...] = ()


class SegmentRun(QObject):
    """Runs the engine in a worker and lets the labels layer fill in.

    The thread writes into the layer's array; the GUI thread looks every tenth of a
    second how far it is. So no flood of progress can hold the window up.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Gets the labels layer.
    engine : Engine
        Does the work.
    request : RunRequest
        What to do.
    """

    progressed = Signal(float, float)
    ended = Signal(object)

    def __init__(
        self,
        viewer: Any,
        engine: Engine,
        request: RunRequest,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._engine = engine
        self._request = request
        self._started = time.monotonic()
        self._latest: Progress | None = None  # written by the thread
        self._unshown = False  # written by the thread
        self._cancelled = False
        self._keep_partial = True
        self._withdrawn = False
        self._told = 0.0
        self._refreshed = 0.0
        self._cost = 0.0
        self._digest: int | None = None
        card, picture = request.entry.card, request.picture
        if request.all_frames:
            picture = replace(picture, frame=None)
        self._pictures = request.pictures
        self._number = 0  # of the picture under way
        dtype = labels_dtype(card.classes, instances=request.instances)
        self._data: Any
        if request.all_frames:
            self._data, self._outs = picture.new_series(dtype)
        elif request.on_disk:
            shape = picture.snapshot.shape
            self._data = PyramidMask.create(new_mask_path(), shape, dtype)
            self._outs = [self._data]
        else:
            self._data, out = picture.new_labels(dtype)
            self._outs = [out]
        self._on_disk = isinstance(self._data, PyramidMask)
        self.layer: Labels = make_labels_layer(
            list(self._data.levels) if self._on_disk else self._data,
            name=f"{request.layer.name} – {card.title}"
            + (f" ({request.part})" if request.part else ""),
            spatial=spatial_state(request.layer, picture.places),
            classes=card.classes,
            instances=request.instances,
            metadata=picture.mask_metadata(request.entry, request.instances),
        )
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._look)

    @property
    def picture(self) -> LayerImage:
        """What is segmented."""
        return self._request.picture

    @property
    def cancelled(self) -> bool:
        """Whether it has been asked to stop."""
        return self._cancelled

    def start(self) -> None:
        """Add the layer and begin."""
        self._was_locked = self._request.layer.locked
        self._request.layer.locked = True
        self._viewer.add_layer(self.layer)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._task = in_napari_worker(
            self._work,
            self._finish,
            description=f"Segmenting {self._request.layer.name}",
            on_quit=lambda: self._cancel(keep_partial=False),
        )
        self._timer.start()

    def cancel(self) -> None:
        """Ask the run to stop within one window."""
        self._cancel(keep_partial=self._request.keep_partial)

    def _cancel(self, *, keep_partial: bool) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._keep_partial = keep_partial
            self._engine.cancel(keep_partial=keep_partial)

    def abandon(self, alive: bool = True) -> None:
        """Stop and forget: the panel or the window closes.

        The layer stays as far as it is, marked as unfinished.

        Parameters
        ----------
        alive : bool
            Whether the window still lives.
        """
        self._task.abandon()
        if alive:
            self._stop_listening()
            if not self._withdrawn:
                self._leave_part("stopped")

    # ------------------------------------------------------------ in the thread

    def _work(self) -> _Work:
        done: list[Segmentation] = []
        for number, picture in enumerate(self._pictures):
            self._number, self._latest = number, None
            try:
                done.append(self._segment(picture, self._outs[number]))
            except CancelledError:
                # Frames that are finished are kept.
                if not done or not self._keep_partial or self._withdrawn:
                    raise
                done.append(replace(done[-1], complete=False, fraction=0.0))
            if not done[-1].complete:
                break
        segmentation = done[-1]
        measures: tuple[ClassMeasure, ...] = ()
        if len(self._pictures) == 1:
            measures = measure_mask(
                self._outs[0],
                self._request.picture.geometry,
                segmentation.classes,
                instances=segmentation.instances,
            )
        highest = int(self._data.max(initial=0)) if segmentation.instances else 0
        whole = replace(
            segmentation, fraction=self._overall(segmentation.fraction, len(done) - 1)
        )
        packed = None if self._on_disk else PackedLabels.pack(self._data)
        doubts: tuple[tuple[str, NDArray[Any]], ...] = ()
        if len(self._pictures) == 1:
            doubts = uncertainty_arrays(segmentation, self._request.picture)
        return _Work(
            whole, packed, measures, highest, tuple(r.record for r in done), doubts
        )

    def _segment(self, picture: LayerImage, out: NDArray[Any]) -> Segmentation:
        request = self._request
        image = picture.read()
        if self._cancelled:
            raise CancelledError("The segmentation was cancelled.")
        return self._engine.segment(
            image,
            request.entry.path,
            out=out,
            device=request.device,
            overlap=request.overlap,
            instances=request.instances,
            region=request.region,
            further=request.further,
            on_progress=self._note,
            on_region=self._mark,
        )

    def _overall(self, fraction: float, number: int) -> float:
        return (number + fraction) / len(self._pictures)

    def _note(self, progress: Progress) -> None:
        self._latest = progress
        self._cancel_again()

    def _cancel_again(self) -> None:
        """Repeat the cancellation: it may have come before the engine had begun."""
        if self._cancelled:
            self._engine.cancel(keep_partial=self._keep_partial)

    def _mark(self, region: tuple[slice, ...]) -> None:
        self._unshown = True

    # -------------------------------------------------------- in the GUI thread

    def _look(self) -> None:
        self._cancel_again()
        progress, now = self._latest, time.monotonic()
        if progress is not None and progress.total and now - self._told >= _TELL_S:
            self._told = now
            several = len(self._pictures) > 1
            seconds = now - self._started if several else progress.seconds
            self.progressed.emit(self._fraction, seconds)
        if self._unshown and not self._withdrawn and self._may_refresh():
            self._unshown = False
            digest = self._digest_of_screen()
            if digest is None or digest != self._digest:
                self._digest = digest
                self._refresh()

    def _digest_of_screen(self) -> int | None:
        """Return a digest of the slice on screen; None where all slices are.

        Most regions finish where nobody looks, and drawing the canvas again for them
        would only cost the window its time.
        """
        dims, ndim = self._viewer.dims, self._data.ndim
        if dims.ndisplay == 3 or ndim == 2:
            return None
        displayed = {axis - dims.ndim + ndim for axis in dims.displayed}
        point = self.layer.world_to_data(dims.point[-ndim:])
        index = tuple(
            slice(None) if axis in displayed else min(max(round(where), 0), length - 1)
            for axis, (where, length) in enumerate(
                zip(point, self._data.shape, strict=True)
            )
        )
        return zlib.crc32(np.ascontiguousarray(self._data[index]).data)

    def _may_refresh(self) -> bool:
        in_3d = self._viewer.dims.ndisplay == 3
        if in_3d and self._data.nbytes > _LARGEST_3D_REFRESH:
            return False
        waited = time.monotonic() - self._refreshed
        return waited >= max(0.2, self._cost / _REFRESH_SHARE)

    def _refresh(self, *, thumbnail: bool = False) -> None:
        begun = time.monotonic()
        if self._on_disk:
            # napari keeps what it has read of a pyramid until it is given another.
            self.layer.data = list(self._data.levels)
        else:
            self.layer.refresh(extent=False, highlight=False, thumbnail=thumbnail)
        self._refreshed = time.monotonic()
        self._cost = self._refreshed - begun

    def _on_removed(self, event: Any) -> None:
        if event.value.unique_id == self.layer.unique_id and not self._withdrawn:
            # Whoever deletes the mask does not want it.
            self._withdrawn = True
            self._cancel(keep_partial=False)

    def _stop_listening(self) -> None:
        self._timer.stop()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._request.layer.locked = self._was_locked

    def _finish(self, outcome: Outcome[_Work]) -> None:
        self._stop_listening()
        self.ended.emit(self._conclude(outcome.value, outcome.error))
        self.deleteLater()

    def _conclude(self, work: _Work | None, error: Exception | None) -> RunEnd:
        seconds = time.monotonic() - self._started
        if self._withdrawn or isinstance(error, CancelledError):
            self._take_away()
            return RunEnd("cancelled", None, (), None, None, seconds)
        if work is None:
            layer = None
            if self._fraction > 0 and (self._on_disk or self._data.any()):
                layer = self._leave_part("failed")
            else:
                self._take_away()
            return RunEnd("failed", layer, (), None, error, seconds)
        segmentation = work.segmentation
        if not segmentation.complete and not segmentation.fraction:
            self._take_away()
            return RunEnd("cancelled", None, (), segmentation, None, seconds)
        block = self.layer.metadata["medurwkv"]
        block["record"] = segmentation.record.model_dump(mode="json")
        if len(self._pictures) > 1:
            block["records"] = [r.model_dump(mode="json") for r in work.records]
        block["complete"] = segmentation.complete
        block["fraction"] = segmentation.fraction
        block["original"] = work.original
        summary = uncertainty_summary(segmentation, self._request.picture)
        if summary is not None:
            block["uncertainty"] = summary
        add_uncertainty(self._viewer, self.layer, work.doubts)
        if segmentation.instances:
            kind = next(info for info in segmentation.classes if info.value != 0)
            self.layer.features = object_features(kind.name, work.highest)
        if segmentation.complete:
            self._release()
            state: Literal["complete", "partial"] = "complete"
        else:
            self._leave_part("partial", segmentation.fraction)
            state = "partial"
        return RunEnd(state, self.layer, work.measures, segmentation, None, seconds)

    @property
    def _fraction(self) -> float:
        progress = self._latest
        part = progress.done / progress.total if progress and progress.total else 0.0
        return self._overall(part, self._number)

    def _leave_part(self, word: str, fraction: float | None = None) -> Labels:
        done = self._fraction if fraction is None else fraction
        self.layer.name = f"{self.layer.name} ({word} {done:.0%})"
        block = self.layer.metadata["medurwkv"]
        block["complete"] = False
        block["fraction"] = done
        self._release()
        return self.layer

    def _release(self) -> None:
        """Show the last regions and hand the layer to the user."""
        self.layer.editable = not self._on_disk
        self._refresh(thumbnail=True)

    def _take_away(self) -> None:
        if isinstance(self._data, PyramidMask):
            self._data.remove()
        for layer in self._viewer.layers:
            if layer.unique_id == self.layer.unique_id:
                self._viewer.layers.remove(layer)
                return
