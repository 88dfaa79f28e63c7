"""See what a tool would do before it does it: worked out in a thread, as an overlay."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medurwkv.correction.tools import work_out
from napari_medurwkv.correction.watch import Watch
from napari_medurwkv.errors import CancelledError, MedurwkvError
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.helper_layers import add_helper, remove_helper
from napari_medurwkv.widgets.result_layer import spatial_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.correction.edits import Edit
    from napari_medurwkv.correction.mask import Prepared
    from napari_medurwkv.correction.tools import Request
    from napari_medurwkv.widgets.correction_session import CorrectionSession

__all__ = ["ToolPreview"]

_SETTLE_MS = 60
_POLL_MS = 80
# Orange for what is lost, blue for what is gained, yellow for what changes its class:
# apart for every kind of colour vision.
_COLORS: dict[int | None, Any] = {
    None: (0, 0, 0, 0),
    0: (0, 0, 0, 0),
    1: "#1f9bff",
    2: "#ff5a1f",
    3: "#ffe14d",
}


class ToolPreview(QObject):
    """Works requests out and shows what they would change.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Gets the overlay.
    """

    ready = Signal(object)
    """Emits the edit that would be made."""

    failed = Signal(str)
    progressed = Signal(float)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._session: CorrectionSession | None = None
        self._ask: Callable[[], Request] | None = None
        self._task: BackgroundTask | None = None
        self._stop = threading.Event()
        self._fraction = 0.0
        self._prepared: Prepared | None = None
        self._layer: Labels | None = None
        self._data: NDArray[np.uint8] | None = None
        self._painted: list[Box] = []
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._begin)
        self._poll = QTimer(self)
        self._poll.setInterval(_POLL_MS)
        self._poll.timeout.connect(lambda: self.progressed.emit(self._fraction))

    @property
    def working(self) -> bool:
        """Whether something is being worked out."""
        return self._task is not None or bool(self._settle.isActive())

    @property
    def edit(self) -> Edit | None:
        """What would be done; None where nothing is ready."""
        return None if self._prepared is None else self._prepared.edit

    def show(self, session: CorrectionSession, ask: Callable[[], Request]) -> None:
        """Work out a request soon, in place of any other.

        Parameters
        ----------
        session : CorrectionSession
            Whose mask.
        ask : callable
            Gives the request; called when it is due.
        """
        self._session, self._ask = session, ask
        self._drop_task()
        self._prepared = None
        self._settle.start()

    def apply(self) -> Edit | None:
        """Carry out what is shown; None where nothing is ready.

        Raises
        ------
        CorrectionError
            If the mask has changed since.
        """
        prepared, session = self._prepared, self._session
        if prepared is None or session is None:
            return None
        edit = session.enter(prepared)
        self.clear()
        return edit

    def clear(self) -> None:
        """Show nothing, and stop working."""
        self._settle.stop()
        self._drop_task()
        self._prepared = None
        self._session = self._ask = None
        layer, self._layer, self._data = self._layer, None, None
        self._painted.clear()
        remove_helper(self._viewer, layer)

    def forget(self) -> None:
        """Stop without touching the viewer: the window goes."""
        self._settle.stop()
        self._drop_task()

    # ------------------------------------------------------------------ details

    def _drop_task(self) -> None:
        self._poll.stop()
        if self._task is not None:
            self._stop.set()
            self._task.abandon()
            self._task = None

    def _begin(self) -> None:
        session, ask = self._session, self._ask
        if session is None or ask is None:
            return
        try:
            request = ask()
        except MedurwkvError as error:
            self._fail(str(error))
            return
        self._stop = stop = threading.Event()
        self._fraction = 0.0

        def progress(fraction: float) -> None:
            if not stop.is_set():
                self._fraction = fraction

        watch = Watch(progress, stop.is_set)
        mask = session.mask
        self._poll.start()
        self._task = in_background(
            lambda: work_out(mask, request, watch), self._show_outcome
        )

    def _show_outcome(self, outcome: Outcome[Prepared]) -> None:
        self._task = None
        self._poll.stop()
        if isinstance(outcome.error, CancelledError):
            return
        if isinstance(outcome.error, MedurwkvError):
            self._fail(str(outcome.error))
            return
        if outcome.error is not None:
            self._fail(f"The tool failed unexpectedly ({outcome.error}).")
            raise outcome.error
        prepared, session = outcome.value, self._session
        if prepared is None or session is None:
            return
        if prepared.version != session.mask.version:
            self._settle.start()  # painted on meanwhile: once more
            return
        self._prepared = prepared
        self._paint(session, prepared.edit)
        self.ready.emit(prepared.edit)

    def _fail(self, sentence: str) -> None:
        self._wipe()
        self.failed.emit(sentence)

    def _wipe(self) -> None:
        if self._data is not None:
            for box in self._painted:
                self._data[box] = 0
            self._painted.clear()
        if self._layer is not None:
            self._layer.refresh(extent=False, highlight=False, thumbnail=False)

    def _paint(self, session: CorrectionSession, edit: Edit) -> None:
        if self._data is None or self._data.shape != session.mask.array.shape:
            remove_helper(self._viewer, self._layer)
            # Memory is taken only where the preview writes.
            self._data = np.zeros(session.mask.array.shape, np.uint8)
            self._layer = None
        for box in self._painted:
            self._data[box] = 0
        self._painted = [patch.box for patch in edit.patches]
        for patch in edit.patches:
            old, new = patch.old.unpack(), patch.new.unpack()
            kinds = np.where(np.equal(old, 0), 1, np.where(np.equal(new, 0), 2, 3))
            self._data[patch.box][patch.where()] = kinds.astype(np.uint8)
        if self._layer is None:
            self._layer = Labels(
                self._data,
                name="Preview",
                colormap=DirectLabelColormap(color_dict=_COLORS),
                opacity=0.8,
                **spatial_state(session.layer),
            )
            self._layer.editable = False
            add_helper(self._viewer, self._layer, session.layer)
        else:
            self._layer.refresh(extent=False, highlight=False, thumbnail=False)
