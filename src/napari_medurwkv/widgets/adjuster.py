"""Decide a mask again while sliders move: the slice on screen at once, then the rest.

What comes of it is one step of the mask's history, made under the rules for results of
the network: what a person has edited stays.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.inference.redecide import Settings
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.correction_session import CorrectionSession, session_of
from napari_medurwkv.widgets.original import PackedLabels
from napari_medurwkv.widgets.result_layer import object_features

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels

    from napari_medurwkv.correction.edits import Edit
    from napari_medurwkv.correction.mask import EditableMask, Prepared
    from napari_medurwkv.widgets.kept_mask import KeptMask

__all__ = ["Adjuster"]

_SETTLE_MS = 150
_OBJECTS_EDITED = (
    "You have edited objects of this mask. Deciding it again would number all objects "
    "anew, and your edits would lie on other ones: run the model again instead."
)
NEUTRAL = Settings()


@dataclass(frozen=True, slots=True, eq=False)
class _Decided:
    """What a thread worked out."""

    settings: Settings | None = None
    prepared: Prepared | None = None
    original: PackedLabels | None = None
    highest: int = 0


class Adjuster(QObject):
    """Keeps a mask at the chosen settings.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose slice comes first.
    open_session : callable, optional
        Gives the session that corrects a layer, and begins one where there is none;
        None, or an error, where that cannot be. By default the adjuster begins one of
        its own, which ends with it.
    """

    told = Signal(str)
    """A sentence for the user; "" when all is done."""

    settings_found = Signal(object)
    """The mask is at other settings now: somebody went through its history."""

    def __init__(
        self,
        viewer: Any,
        open_session: Callable[[Labels], CorrectionSession | None] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.open_session = open_session
        self._viewer = viewer
        self._kept: KeptMask | None = None
        self._session: CorrectionSession | None = None
        self._own_session: CorrectionSession | None = None
        self._compared = False
        self._wanted: Settings | None = None
        self._shown = NEUTRAL
        self._edit: Edit | None = None
        # Which step left the mask at which settings; steps are held, ids stay unique.
        self._steps: list[tuple[Edit, Settings]] = []
        self._originals: dict[str, PackedLabels] = {}
        self._task: BackgroundTask | None = None
        self._stop = threading.Event()
        self._entering = False
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._begin)

    @property
    def kept(self) -> KeptMask | None:
        """The mask, if there is one."""
        return self._kept

    @property
    def working(self) -> bool:
        """Whether the mask is not yet what was asked for."""
        return self._task is not None or bool(self._settle.isActive())

    @property
    def settings(self) -> Settings:
        """What was asked for last."""
        return self._shown if self._wanted is None else self._wanted

    def use(self, kept: KeptMask | None) -> None:
        """Take another mask; the probabilities of the last one go."""
        self.forget()
        if self._kept is not None:
            self._kept.probabilities.close()
        self._kept = kept
        self._compared = False
        self._shown = NEUTRAL
        self._edit = self._wanted = None
        self._steps.clear()
        self._originals.clear()
        if kept is not None:
            original = _block(kept.layer).get("original")
            if original is not None:
                self._originals[_key(NEUTRAL)] = original

    def forget(self) -> None:
        """Stop working."""
        self._settle.stop()
        self._drop_task()
        if self._session is not None and self._session.open:
            self._session.mask.history.changed.disconnect(self._on_history)
        self._session = None
        if self._own_session is not None:
            self._own_session.close()
            self._own_session = None

    def open(self) -> None:
        """Get ready: find out what a person has edited so far, in a thread."""
        if self._kept is not None and not self._compared and self._ready():
            self._settle.start()

    def change(self, settings: Settings) -> None:
        """Bring the mask to settings: what is on screen now, the rest soon."""
        if self._kept is None:
            return
        self._wanted = settings
        self._drop_task()
        if self._ready() and self._compared:
            self._show_slice(settings)
        if self._session is not None:
            self._settle.start()

    # ------------------------------------------------------------------ details

    def _ready(self) -> bool:
        """Begin to correct the layer; say why where that cannot be."""
        kept, session = self._kept, self._session
        if kept is None:
            return False
        if session is not None and session.open:
            return True
        self._session = None
        try:
            session = self._find_session(kept.layer)
        except MedurwkvError as error:
            self.told.emit(str(error))
            return False
        if session is None:
            self.told.emit("This mask cannot be edited now.")
            return False
        self._session = session
        session.mask.history.changed.connect(self._on_history)
        return True

    def _find_session(self, layer: Labels) -> CorrectionSession | None:
        if self.open_session is not None:
            return self.open_session(layer)
        found = session_of(layer)
        if found is None:
            found = self._own_session = CorrectionSession(layer)
        return found

    def _show_slice(self, settings: Settings) -> None:
        kept, session = self._kept, self._session
        if kept is None or session is None or session.binding.busy:
            return
        if self._viewer.dims.ndisplay != 2:
            return
        found = kept.decide_slice(settings, *self._on_screen(kept.layer))
        if found is None:
            return
        box, labels = found
        self._enter(_prepare(session.mask, settings, box, labels), settings)

    def _on_screen(self, layer: Labels) -> tuple[int, int]:
        """Axis and number of the slice on screen; of a picture, -1 and 0."""
        if layer.ndim == 2:
            return -1, 0
        dims = self._viewer.dims
        displayed = {axis - dims.ndim + layer.ndim for axis in dims.displayed}
        axis = next(a for a in range(layer.ndim) if a not in displayed)
        point = layer.world_to_data(dims.point[-layer.ndim :])
        last = layer.data.shape[axis] - 1
        return axis, min(max(round(float(point[axis])), 0), last)

    def _begin(self) -> None:
        kept, session, settings = self._kept, self._session, self._wanted
        if kept is None or session is None or (settings is None and self._compared):
            return
        if not session.open:
            self.told.emit("This mask cannot be edited any more.")
            return
        if session.binding.busy:
            self._settle.start()
            return
        self._stop = stop = threading.Event()
        compared, mask = self._compared, session.mask
        if settings is not None:
            self.told.emit("Deciding…")

        def work() -> _Decided | None:
            if not compared and not _mark_edits(kept, mask, stop.is_set):
                return None
            if settings is None:
                return _Decided()
            if kept.rule.instances is not None and mask.marks.any():
                raise MedurwkvError(_OBJECTS_EDITED)
            labels = kept.decide(settings, stop.is_set)
            if labels is None:
                return None
            whole = np.zeros(kept.layer.data.shape, kept.layer.data.dtype)
            whole[kept.box] = labels
            prepared = _prepare(mask, settings, kept.box, labels)
            highest = int(labels.max(initial=0))
            return _Decided(settings, prepared, PackedLabels.pack(whole), highest)

        self._task = in_background(work, self._finish)

    def _finish(self, outcome: Outcome[_Decided | None]) -> None:
        self._task = None
        kept, session = self._kept, self._session
        if outcome.error is not None:
            self._wanted = None
            self.settings_found.emit(self._shown)
            self.told.emit(str(outcome.error))
            if not isinstance(outcome.error, MedurwkvError):
                raise outcome.error
            return
        done = outcome.value
        if done is None or kept is None or session is None:
            return
        self._compared = True
        settings = done.settings
        if settings is None or done.prepared is None or done.original is None:
            return
        if done.prepared.version != session.mask.version or session.binding.busy:
            self._settle.start()  # painted on meanwhile: once more
            return
        self._originals[_key(settings)] = done.original
        self._enter(done.prepared, settings)
        self._wanted, self._shown = None, settings
        self._note(settings)
        if kept.rule.instances is not None:
            _name_objects(kept.layer, done.highest)
        session.autosave.save()
        held = done.prepared.edit.held
        stayed = f"{held} voxels that you had edited stayed as they were."
        self.told.emit(stayed if held else "")

    def _enter(self, prepared: Prepared, settings: Settings) -> None:
        session = self._session
        if session is None:
            return
        last = self._edit
        # The history tells of the step before it is known here.
        self._entering = True
        try:
            edit = session.mask.enter(prepared, onto=last)
        finally:
            self._entering = False
        if prepared.edit.empty:
            return
        if last is not None and last.patches[0] is edit.patches[0]:
            self._steps = [step for step in self._steps if step[0] is not last]
        self._edit = edit
        self._steps.append((edit, settings))
        self._shown = settings

    def _on_history(self) -> None:
        """Follow undo and redo: the sliders show what the mask is at."""
        session = self._session
        if session is None or self._entering:
            return
        history = session.mask.history
        if self._wanted is not None:
            if self._edit is None or history.next_redo is not self._edit:
                return
            # Undone while the rest was being decided: it is not wanted any more.
            self._settle.stop()
            self._drop_task()
            self._wanted = None
            self.told.emit("")
        done = history.steps[: history.position]
        known = {id(edit): settings for edit, settings in self._steps}
        found = next((known[id(e)] for e in reversed(done) if id(e) in known), None)
        if found is None:
            # The oldest steps may have been forgotten, ours among them.
            found = self._shown if history.forgotten else NEUTRAL
        if _key(found) != _key(self._shown):
            self._shown = found
            self._note(found)
            self.settings_found.emit(found)

    def _note(self, settings: Settings) -> None:
        """Have the layer say what decided it, and what of it is the network's."""
        kept = self._kept
        if kept is None:
            return
        block = _block(kept.layer)
        original = self._originals.get(_key(settings))
        if original is not None:
            block["original"] = original
        record = block.get("record")
        if isinstance(record, dict):
            parameters = dict(record["parameters"])
            parameters.pop("decided_by", None)
            if not settings.neutral:
                parameters["decided_by"] = settings.to_json()
            block["record"] = record | {"parameters": parameters}

    def _drop_task(self) -> None:
        if self._task is not None:
            self._stop.set()
            self._task.abandon()
            self._task = None


def _block(layer: Labels) -> dict[str, Any]:
    block: dict[str, Any] = layer.metadata[METADATA_KEY]
    return block


def _key(settings: Settings) -> str:
    return str(settings.to_json())


def _prepare(mask: EditableMask, settings: Settings, box: Any, labels: Any) -> Prepared:
    return mask.prepare(_name(settings), box, labels, source="model")


def _name(settings: Settings) -> str:
    if settings.neutral:
        return "Adjust: as the model says"
    parts = []
    if settings.threshold is not None:
        parts.append(f"threshold {settings.threshold:.2f}")
    parts += [
        f"label {value} × {weight:.2g}"
        for value, weight in sorted(settings.weights.items())
        if weight != 1
    ]
    if settings.temperature != 1:
        parts.append(f"temperature {settings.temperature:.2g}")
    return f"Adjust: {', '.join(parts)}"


def _mark_edits(kept: KeptMask, mask: EditableMask, cancel: Callable[[], bool]) -> bool:
    """Mark what was edited before anybody kept a history; False where cancelled.

    A brush of napari leaves no marks. What differs from the run's own mask is a
    person's.
    """
    own = kept.decide(NEUTRAL, cancel)
    if own is None:
        return False
    box = kept.box
    mask.marks[box] |= np.asarray(mask.array[box]) != own
    return True


def _name_objects(layer: Labels, highest: int) -> None:
    block = _block(layer)
    kind = next(info for info in block["classes"] if info["value"] != 0)
    layer.features = object_features(kind["name"], highest)
