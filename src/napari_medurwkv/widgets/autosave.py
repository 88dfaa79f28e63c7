"""Keep a mask safe while it is edited: written within half a minute of a change."""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medurwkv.correction.journal import Journal, Snapshot
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.correction.mask import EditableMask

__all__ = ["DELAY_MS", "Autosave", "picture_of", "picture_pixels"]

DELAY_MS = 20_000
"""From the first change that is not yet kept to the next saving."""

_PICTURE_EDGE = 96


class Autosave(QObject):
    """Saves one mask into its journal, in a thread.

    Parameters
    ----------
    mask : EditableMask
        What is kept.
    identity : str
        Tells this mask from others.
    details : callable
        Gives what else the journal keeps; called in the GUI thread.
    folder : Path, optional
        Of all journals.
    """

    failed = Signal(str)
    saved = Signal()

    def __init__(
        self,
        mask: EditableMask,
        identity: str,
        details: Callable[[], dict[str, Any]],
        folder: Path | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._mask = mask
        self._identity = identity
        self._details = details
        self._folder = folder
        self._journal: Journal | None = None
        self._kept = mask.version
        self._task: BackgroundTask | None = None
        self._ending = threading.Lock()  # guards the two below
        self._writing = False
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self.save)
        mask.changed.connect(self._on_changed)

    @property
    def pending(self) -> bool:
        """Whether there is something that is not yet kept."""
        return self._kept != self._mask.version

    @property
    def saving(self) -> bool:
        """Whether the thread writes."""
        return self._task is not None

    def save(self) -> None:
        """Save now, unless everything is kept already."""
        self._timer.stop()
        if not self.pending:
            return
        if self._task is not None:
            self._timer.start(1000)
            return
        mask, version, details = self._mask, self._mask.version, self._details()
        array, marks, classes = mask.array, mask.marks, mask.classes

        def work() -> int:
            try:
                if self._journal is None:
                    self._journal = Journal(self._identity, self._folder)
                self._journal.save(Snapshot(array, marks, classes, details))
            finally:
                with self._ending:
                    self._writing = False
                    if self._closed:
                        self._let_go()
            return version

        self._writing = True
        self._task = in_background(work, self._tell)

    def forget(self) -> None:
        """Delete what was kept: the mask has been saved as a file."""
        self._timer.stop()
        self._kept = self._mask.version
        if self._journal is not None and self._task is None:
            self._journal.discard()

    def close(self) -> None:
        """Stop; what was kept stays for a later session, unless it was forgotten."""
        self._timer.stop()
        self._mask.changed.disconnect(self._on_changed)
        if self._task is not None:
            self._task.abandon()
            self._task = None
        with self._ending:
            self._closed = True
            # The thread may be making the journal just now; then it lets it go.
            if not self._writing:
                self._let_go()

    def _let_go(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _on_changed(self, box: Any = None) -> None:
        # From the first change on: a person who never rests is saved as well.
        if not self._timer.isActive():
            self._timer.start(DELAY_MS)

    def _tell(self, outcome: Outcome[int]) -> None:
        self._task = None
        if outcome.error is not None:
            self._timer.start(DELAY_MS)
            self.failed.emit(f"Autosave failed: {outcome.error}")
            return
        if outcome.value is not None:
            self._kept = outcome.value
        if self.pending:
            # Painted on while it was written, so that the file may be half old.
            self._timer.start(DELAY_MS)
        self.saved.emit()


def picture_of(plane: NDArray[Any], colors: dict[int, str]) -> dict[str, Any]:
    """Make a small picture of a slice for the journal.

    Parameters
    ----------
    plane : (Y, X) ndarray of integers
        A slice of the mask.
    colors : dict of int to str
        "#rrggbb" per class.

    Returns
    -------
    dict
        What JSON can hold; `picture_pixels` reads it back.
    """
    step = max(1, -(-max(plane.shape) // _PICTURE_EDGE))
    small = np.asarray(plane)[::step, ::step]
    pixels = np.zeros((*small.shape, 3), np.uint8)
    for value, color in colors.items():
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        pixels[small == value] = rgb
    text = base64.b64encode(pixels.tobytes()).decode("ascii")
    return {"shape": list(pixels.shape), "rgb": text}


def picture_pixels(picture: dict[str, Any]) -> NDArray[np.uint8]:
    """Read back what `picture_of` made: (Y, X, 3) uint8."""
    data = base64.b64decode(picture["rgb"])
    return np.frombuffer(data, np.uint8).reshape(picture["shape"])
