"""The correction of one labels layer: mask, history, autosave, numbers, review."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medurwkv.correction.counts import Tally, tally_labels
from napari_medurwkv.correction.mask import EditableMask, Prepared
from napari_medurwkv.correction.review import ReviewMarks
from napari_medurwkv.errors import CorrectionError
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.widgets.autosave import Autosave, picture_of
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.labels_binding import LabelsBinding, real_layer
from napari_medurwkv.widgets.layer_classes import (
    add_missing,
    find_classes,
    show_classes,
)
from napari_medurwkv.widgets.layer_image import find_geometry, take_snapshot
from napari_medurwkv.widgets.live_components import LiveComponents
from napari_medurwkv.widgets.mask_export import CORRECTION_KEY
from napari_medurwkv.widgets.recovery import what_a_run_left

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Labels

    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.correction.edits import Edit
    from napari_medurwkv.correction.journal import Snapshot

__all__ = ["CorrectionSession", "session_of"]

_TELL_MS = 250
_MARKS = "medurwkv-edited"
_DOUBT = "medurwkv-uncertainty"
_SESSIONS: dict[Any, CorrectionSession] = {}


def session_of(layer: Any) -> CorrectionSession | None:
    """Return the session that corrects a layer; None where none does."""
    return _SESSIONS.get(real_layer(layer).unique_id)


class CorrectionSession(QObject):
    """Everything that belongs to the correction of one layer, without its looks.

    Parameters
    ----------
    layer : Labels
        An editable layer of one scale with two or three axes.
    folder : Path, optional
        Of the journals.
    image : ndarray, optional
        One channel of the mask's shape, for mean intensities.
    """

    changed = Signal()
    """The mask, its classes or its numbers changed; at most four times a second."""

    stroke = Signal(object)
    told = Signal(str)
    """A sentence that the user should read."""

    def __init__(
        self,
        layer: Labels,
        folder: Path | None = None,
        parent: QObject | None = None,
        *,
        image: Any = None,
    ) -> None:
        super().__init__(parent)
        self.layer = real_layer(layer)
        if self.layer.multiscale or self.layer.ndim not in (2, 3):
            raise CorrectionError(
                "Pictures and volumes of one scale can be corrected; split the layer "
                "first."
            )
        geometry = find_geometry(take_snapshot(self.layer)).export_geometry
        unit = geometry.mm_per_unit
        self.known_size = unit is not None and geometry.kind != "none"
        self.mask = EditableMask(self.layer.data, self._spacing(unit), image=image)
        kept = self.layer.metadata.get(_MARKS)
        if kept is not None and kept[0].shape == self.mask.marks.shape:
            # Of an earlier session: still the person's own.
            self.mask.marks, self.mask.model_labels = kept
        self.binding = LabelsBinding(self.layer, self.mask)
        self.review = ReviewMarks(0, self.mask.array.shape[0])
        self.original: Tally | None = None
        self.isolated: int | None = None
        self._begun = time.time()
        self._earlier: dict[str, Any] = self.layer.metadata.get(CORRECTION_KEY, {})
        self._counting: BackgroundTask | None = None
        self._tools: Counter[str] = Counter()
        self._shown: tuple[Any, ...] = ()
        self._open = True
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_TELL_MS)
        self._pause.timeout.connect(self._tell_changed)
        self.components = LiveComponents(self.mask, self)
        self.components.counted.connect(self._on_components)
        self.autosave = Autosave(
            self.mask, self._identity(), self._details, folder, self
        )
        self.autosave.failed.connect(self.told)
        self.mask.changed.connect(self._on_changed)
        self.mask.history.changed.connect(self._on_history)
        self.binding.stroke.connect(self._on_stroke)
        self.binding.stopped.connect(self._on_stopped)
        self.binding.lost.connect(self.close)
        _SESSIONS[self.layer.unique_id] = self
        self._count()

    @property
    def open(self) -> bool:
        """Whether it still corrects its layer."""
        return self._open

    @property
    def counted(self) -> bool:
        """Whether the numbers are there."""
        return self.mask.counts is not None

    def enter(self, prepared: Prepared) -> Edit:
        """Carry out an edit that was worked out before.

        Raises
        ------
        CorrectionError
            If the mask has changed since, or is being painted on.
        """
        if self.binding.busy:
            raise CorrectionError("Finish the stroke first.")
        edit = self.mask.enter(prepared)
        self._tools[edit.name] += 1
        self._note_review(edit)
        if edit.held:
            self.told.emit(
                f"{edit.held} voxels stayed as they were: their class is locked, or "
                "you had edited them."
            )
        if edit.source == "model":
            self.autosave.save()
        return edit

    def restore(self, kept: Snapshot) -> None:
        """Take over what a journal kept beside the labels: marks, classes, review."""
        self.mask.marks[...] = kept.marks
        self.mask.start_classes(kept.classes)
        self._earlier = dict(kept.details.get("work", {}))
        review = kept.details.get("review")
        if review and int(review["slices"]) == len(self.review):
            self.review = ReviewMarks.from_json(review)
        self.mask.version += 1
        self._show()
        self.changed.emit()

    def isolate(self, value: int | None) -> None:
        """Show one class only, or all again."""
        self.isolated = value
        self._show()

    def uncertainty(self, axis: int) -> list[float] | None:
        """Return the model's doubt per slice of an axis; None where none was kept."""
        return _uncertainty(self.layer, self.mask.array.shape, axis)

    def take_uncertainty(self, layer: Any) -> None:
        """Take over what a new result's layer knows of the model's doubt."""
        block = real_layer(layer).metadata.get(METADATA_KEY)
        if isinstance(block, dict) and block.get("uncertainty"):
            # Not into the block of a run, which masks from elsewhere do not have.
            self.layer.metadata[_DOUBT] = block["uncertainty"]

    def saved(self) -> None:
        """Note that the mask has been saved as a file: the journal is not needed."""
        self.autosave.forget()

    def summary(self) -> dict[str, Any]:
        """Return what the provenance says of the correction."""
        mask = self.mask
        kept = mask.model_labels.share_kept(mask.array, mask.marks)
        return {
            "edited_voxels": int(np.count_nonzero(mask.marks)),
            "share_of_model_kept": None if kept is None else round(kept, 6),
            **self._work(),
            "review": self.review.to_json(),
        }

    def _work(self) -> dict[str, Any]:
        """Return what was done and how long, that of earlier sessions included."""
        earlier = self._earlier
        steps = self.mask.history.steps[: self.mask.history.position]
        strokes = sum(step.source == "brush" for step in steps)
        tools = self._tools + Counter(earlier.get("tools", {}))
        minutes = (time.time() - self._begun) / 60 + earlier.get("minutes", 0.0)
        return {
            "strokes": strokes + earlier.get("strokes", 0),
            "tools": dict(sorted(tools.items())),
            "minutes": round(minutes, 1),
        }

    def write_summary(self) -> None:
        """Put the summary where the export looks for it."""
        self.layer.metadata[CORRECTION_KEY] = self.summary()

    def close(self) -> None:
        """Let go of the layer; what was kept by autosave stays."""
        if not self._open:
            return
        self._open = False
        if self.mask.marks.any():
            self.write_summary()
            self.layer.metadata[_MARKS] = (self.mask.marks, self.mask.model_labels)
        self._pause.stop()
        if self._counting is not None:
            self._counting.abandon()
        self.autosave.close()
        self.components.close()
        self.mask.changed.disconnect(self._on_changed)
        self.mask.history.changed.disconnect(self._on_history)
        self.binding.release()
        _SESSIONS.pop(self.layer.unique_id, None)

    # ------------------------------------------------------------------ details

    def _spacing(self, mm_per_unit: float | None) -> tuple[float, ...]:
        scale = np.abs(np.asarray(self.layer.scale, float))
        affine = np.asarray(self.layer.affine.linear_matrix, float)
        # A layer's own scale, and what its affine stretches each axis by.
        stretched = np.linalg.norm(affine * scale, axis=0)
        return tuple(float(s) * (mm_per_unit or 1.0) for s in stretched)

    def _identity(self) -> str:
        block = self.layer.metadata.get(METADATA_KEY)
        image = block.get("image", {}) if isinstance(block, dict) else {}
        return f"{self.layer.name} {image.get('name', '')} {self.mask.array.shape}"

    def _details(self) -> dict[str, Any]:
        counts, one = self.mask.counts, float(np.prod(self.mask.spacing)) / 1000
        plane = self.mask.array
        if plane.ndim == 3:
            held = (
                [0]
                if counts is None
                else [
                    k for value in counts.values for k in counts.planes(value).tolist()
                ]
            )
            plane = plane[int(np.median(held)) if held else 0]
        colors = {info.value: info.color for info in self.mask.classes}
        state = self.layer.as_layer_data_tuple()[1]
        return {
            "name": self.layer.name,
            "volumes": {
                info.name: counts.voxels(info.value) * one
                for info in self.mask.classes
                if counts is not None
            },
            "picture": picture_of(np.asarray(plane), colors),
            "run": what_a_run_left(self.layer),
            "work": self._work(),
            "review": self.review.to_json(),
            "place": _place(state),
        }

    def _count(self) -> None:
        version, array = self.mask.version, self.mask.array
        image = self.mask.image

        def done(outcome: Outcome[Tally]) -> None:
            self._counting = None
            if outcome.error is not None:
                raise outcome.error
            if version != self.mask.version or self.binding.busy:
                # Of a stroke under way some is counted already: count once more.
                self._count()
                return
            if outcome.value is not None:
                self._counted(outcome.value)

        self._counting = in_background(lambda: tally_labels(array, image), done)

    def _counted(self, tally: Tally) -> None:
        self.mask.count(tally)
        if self.original is None:
            self.original = tally
        if not self.mask.classes and self.mask.counts is not None:
            self.mask.start_classes(find_classes(self.layer, self.mask.counts.values))
            self._show()
        self.components.start()
        self.changed.emit()

    def _on_components(self) -> None:
        if not self._pause.isActive():
            self._pause.start()

    def _on_changed(self, box: Box | None) -> None:
        if box is None:
            self._show()
        if not self._pause.isActive():
            self._pause.start()

    def _on_history(self) -> None:
        if not self._pause.isActive():
            self._pause.start()

    def _tell_changed(self) -> None:
        counts = self.mask.counts
        if counts is not None and self.mask.classes:
            full = add_missing(self.mask.classes, counts.values)
            if full != self.mask.classes:
                self.mask.start_classes(full)
                self._show()
        self.changed.emit()

    def _on_stroke(self, edit: Edit) -> None:
        self._note_review(edit)
        if edit.held:
            self._on_stopped()
        self.stroke.emit(edit)

    def _on_stopped(self) -> None:
        self.told.emit("Where a class is locked, or out of range, nothing changed.")

    def _note_review(self, edit: Edit) -> None:
        box = edit.box
        if box is None:
            return
        axis = self.review.axis
        # A tool on the whole volume is no look at every slice.
        if box[axis].stop - box[axis].start <= 3:
            self.review.correct(box[axis].start, box[axis].stop)

    def _show(self) -> None:
        shown = (self.mask.classes, self.isolated)
        if shown != self._shown:
            self._shown = shown
            show_classes(self.layer, self.mask.classes, self.isolated)


def _uncertainty(
    layer: Labels, shape: tuple[int, ...], axis: int
) -> list[float] | None:
    block = layer.metadata.get(METADATA_KEY)
    own = block.get("uncertainty") if isinstance(block, dict) else None
    kept = layer.metadata.get(_DOUBT, own)
    slices = kept.get("slices") if isinstance(kept, dict) else None
    # Data of another shape is no longer that of the run.
    if not slices or tuple(len(row) for row in slices) != tuple(shape):
        return None
    return [float(score) for score in slices[axis]]


def _place(state: dict[str, Any]) -> dict[str, Any]:
    """Return what decides where a layer is drawn, as JSON can hold it."""
    place: dict[str, Any] = {}
    for key in ("scale", "translate", "rotate", "shear", "affine"):
        place[key] = np.asarray(state[key], float).tolist()
    place["units"] = [str(unit) for unit in state["units"]]
    place["axis_labels"] = [str(label) for label in state["axis_labels"]]
    return place
