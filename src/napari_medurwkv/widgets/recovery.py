"""Offer what a session that did not end well has left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.correction.journal import Entry, Snapshot, find_entries, tidy
from napari_medurwkv.errors import OutputError
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.widgets.autosave import picture_pixels
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.layer_classes import show_classes
from napari_medurwkv.widgets.look import WrappedLabel, heading

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RecoveryBanner", "recovered_layer", "what_a_run_left"]

_OF_A_RUN = (
    "geometry",
    "frame",
    "model",
    "classes",
    "instances",
    "record",
    "complete",
    "fraction",
    "uncertainty",
)


class RecoveryBanner(QFrame):
    """Shows the newest journal with picture, time and volumes; hidden without one.

    Parameters
    ----------
    folder : Path, optional
        Of the journals.
    """

    recovered = Signal(object, object)
    """Emits what was kept, and its entry, which is to be discarded once it is safe."""

    told = Signal(str)

    found = Signal(bool)
    """Emits whether there is something to recover."""

    def __init__(
        self, folder: Path | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._folder = folder
        self._entries: tuple[Entry, ...] = ()
        self._task: BackgroundTask | None = None
        self.picture, self.text = QLabel(), WrappedLabel()
        self.recover_button = QPushButton("Recover")
        self.later_button = QPushButton("Later")
        self.discard_button = QPushButton("Delete")
        self.discard_button.setToolTip("Delete this work for good")
        buttons = QHBoxLayout()
        for button in (self.recover_button, self.later_button, self.discard_button):
            buttons.addWidget(button)
        column = QVBoxLayout()
        column.addWidget(heading("Unsaved work"))
        column.addWidget(self.text)
        column.addLayout(buttons)
        row = QHBoxLayout(self)
        row.addWidget(self.picture)
        row.addLayout(column, 1)
        self.recover_button.clicked.connect(self.recover)
        self.later_button.clicked.connect(self._skip)
        self.discard_button.clicked.connect(self.discard)
        self.hide()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What can be recovered, the newest first."""
        return self._entries

    def look(self) -> None:
        """Look for journals, and remove those that are too old."""
        folder = self._folder

        def work() -> tuple[Entry, ...]:
            tidy(folder)
            return find_entries(folder)

        self._task = in_background(work, self._show_entries)

    def recover(self) -> None:
        """Read the mask that is shown."""
        if not self._entries or self._task is not None:
            return
        entry = self._entries[0]

        def done(outcome: Outcome[Snapshot]) -> None:
            self._task = None
            if isinstance(outcome.error, OutputError):
                self.told.emit(str(outcome.error))
                return
            if outcome.error is not None:
                raise outcome.error
            self._skip()
            self.recovered.emit(outcome.value, entry)

        self._task = in_background(entry.load, done)

    def discard(self) -> None:
        """Delete the work that is shown."""
        if self._entries:
            self._entries[0].discard()
            self._skip()

    def forget(self) -> None:
        """Forget about work under way: the panel goes."""
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _skip(self) -> None:
        self._entries = self._entries[1:]
        self._show()

    def _show_entries(self, outcome: Outcome[tuple[Entry, ...]]) -> None:
        self._task = None
        if outcome.error is not None:
            raise outcome.error
        self._entries = outcome.value or ()
        self._show()

    def _show(self) -> None:
        self.setVisible(bool(self._entries))
        self.found.emit(bool(self._entries))
        if not self._entries:
            return
        entry = self._entries[0]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.saved))
        volumes = ", ".join(
            f"{name} {size:.2f} mL"
            for name, size in entry.details.get("volumes", {}).items()
            if size > 0
        )
        more = len(self._entries) - 1
        text = f"{entry.details.get('name', 'A mask')}, {when}. {volumes}"
        self.text.setText(text + (f" ({more} more)" if more else ""))
        picture = entry.details.get("picture")
        if picture:
            pixels = np.ascontiguousarray(picture_pixels(picture))
            height, width = pixels.shape[:2]
            form = QImage.Format.Format_RGB888
            image = QImage(pixels.tobytes(), width, height, 3 * width, form).copy()
            self.picture.setPixmap(QPixmap.fromImage(image).scaledToWidth(72))


def what_a_run_left(layer: Labels) -> dict[str, Any]:
    """Return what a mask knows of its grid and its run, as JSON can hold it.

    The packed mask of the model is not among it: how many voxels differ from it cannot
    be told after a recovery.
    """
    block = layer.metadata.get(METADATA_KEY)
    if not isinstance(block, dict) or "geometry" not in block:
        return {}
    return {key: block[key] for key in _OF_A_RUN if key in block}


def recovered_layer(kept: Snapshot) -> Labels:
    """Make a labels layer of what was kept, where it was."""
    place: dict[str, Any] = dict(kept.details.get("place", {}))
    ndim = kept.labels.ndim
    if len(place.get("scale", ())) != ndim:
        place = {}
    name = f"{kept.details.get('name', 'mask')} (recovered)"
    layer = Labels(kept.labels, name=name, **place)
    run = kept.details.get("run")
    if run:
        layer.metadata[METADATA_KEY] = dict(run)
    show_classes(layer, kept.classes)
    return layer
