"""Fetch a public checkpoint: licence first, then with progress, resumed, verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.checkpoints.download import licence_notice, public_folder
from napari_medurwkv.checkpoints.public import public_checkpoints
from napari_medurwkv.errors import CancelledError
from napari_medurwkv.widgets.background import in_background
from napari_medurwkv.widgets.fetch_process import FetchProcess
from napari_medurwkv.widgets.look import RED, WrappedLabel, let_shrink, set_tone

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints.public import PublicCheckpoint
    from napari_medurwkv.widgets.background import BackgroundTask, Outcome
    from napari_medurwkv.widgets.fetch_process import FetchedFile

__all__ = ["PublicModels"]

_MB = 1e6
_MASKS = ("segmentation", "restoration")


class PublicModels(QWidget):
    """The public checkpoints, one at a time, and the button that fetches it."""

    fetched = Signal(object)
    """Emits the path of a checkpoint that gives masks or images."""
    _counted = Signal(object, object)  # beyond what an int of Qt holds

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        # What can be used here comes first, and of that what a program can fetch.
        self._listed = sorted(
            public_checkpoints(), key=lambda e: (e.task not in _MASKS, not e.fetchable)
        )
        self._task: BackgroundTask | None = None
        self._process: FetchProcess | None = None
        self.choice = QComboBox()
        let_shrink(self.choice)
        self.choice.addItems([entry.title for entry in self._listed])
        self._facts = WrappedLabel()
        self.accept_licence = QCheckBox()
        self.offline = QCheckBox("Use no network")
        self.offline.setToolTip("Take the file only if it is on this computer already")
        self._bar = QProgressBar()
        self._bar.hide()
        self.fetch_button = QPushButton("Fetch")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.hide()
        self._status = WrappedLabel()
        self._status.hide()
        row = QHBoxLayout()
        row.addWidget(self.fetch_button, 1)
        row.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (
            self.choice,
            self._facts,
            self.accept_licence,
            self.offline,
            self._bar,
        ):
            layout.addWidget(widget)
        layout.addLayout(row)
        layout.addWidget(self._status)
        self.choice.currentIndexChanged.connect(self._show_entry)
        self.accept_licence.toggled.connect(self._enable)
        self.fetch_button.clicked.connect(self.fetch)
        self.cancel_button.clicked.connect(self.cancel)
        self._counted.connect(self._count)
        self._show_entry()

    @property
    def entry(self) -> PublicCheckpoint:
        """The checkpoint that is shown."""
        return self._listed[self.choice.currentIndex()]

    @property
    def facts(self) -> str:
        """What is said of it."""
        return str(self._facts.text())

    @property
    def status(self) -> str:
        """What came of the last download, or how this one goes."""
        return str(self._status.text())

    @property
    def fetching(self) -> bool:
        """Whether a download is under way."""
        return self._task is not None

    def choose(self, name: str) -> None:
        """Show a checkpoint by its name; raises ValueError if there is none."""
        names = [entry.name for entry in self._listed]
        self.choice.setCurrentIndex(names.index(name))

    def fetch(self) -> None:
        """Start the download of what is shown, if its licence is accepted."""
        if self.fetching or not self.fetch_button.isEnabled():
            return
        entry = self.entry
        process = FetchProcess(
            entry.name,
            offline=self.offline.isChecked(),
            progress=lambda done, total: self._counted.emit(done, total),
        )
        self._process = process
        self._tell(f"Fetching {entry.file}…")
        self._bar.setRange(0, 0)
        self._bar.setFormat("")
        self._bar.show()
        self.cancel_button.show()
        self.cancel_button.setEnabled(True)
        self._task = in_background(process.run, self._finish)
        self._enable()

    def cancel(self) -> None:
        """End the download; what is here stays for the next one."""
        if self._process is not None:
            self.cancel_button.setEnabled(False)
            self._process.stop()

    def abandon(self) -> None:
        """End the download and forget about it; call it before the widget goes."""
        if self._task is not None:
            self._task.abandon()
        if self._process is not None:
            self._process.stop()

    def _show_entry(self, *_: object) -> None:
        entry = self.entry
        here = (public_folder() / entry.file).is_file()
        stated = entry.size_bytes
        size = f"{stated / _MB:.0f} MB" if stated else "size unknown"
        size += ", on this computer already" if here else ""
        lines = [entry.description, size]
        if entry.task not in _MASKS:
            lines.append("To start a training from: it gives no mask by itself.")
        lines += [entry.address, licence_notice(entry)]
        if not entry.fetchable:
            lines.append(
                "It lies where programs cannot fetch it: download it by hand, then "
                "take Add…"
            )
        self._facts.setText("\n".join(lines))
        self.accept_licence.setText(f"I accept this licence ({entry.licence})")
        self.accept_licence.setChecked(False)
        self.accept_licence.setVisible(entry.fetchable)
        self.offline.setVisible(entry.fetchable)
        self.fetch_button.setVisible(entry.fetchable)
        if not self.fetching:
            self._status.hide()
        self._enable()

    def _enable(self, *_: object) -> None:
        ready = self.accept_licence.isChecked() and self.entry.fetchable
        self.fetch_button.setEnabled(ready and not self.fetching)
        self.fetch_button.setToolTip(
            "" if ready else "Read the licence and accept it first"
        )
        self.choice.setEnabled(not self.fetching)

    def _count(self, done: int, total: int) -> None:
        if not self.fetching:
            return
        if total:
            self._bar.setRange(0, 1000)
            self._bar.setValue(round(1000 * done / total))
            self._bar.setFormat(f"{done / _MB:.1f} of {total / _MB:.1f} MB")
        else:
            self._bar.setFormat(f"{done / _MB:.1f} MB")

    def _finish(self, outcome: Outcome[FetchedFile]) -> None:
        entry = self.entry
        self._task = self._process = None
        self._bar.hide()
        self.cancel_button.hide()
        found = outcome.value
        if found is None:
            stopped = isinstance(outcome.error, CancelledError)
            self._tell(str(outcome.error), failed=not stopped)
            self._enable()
            return
        self._show_entry()
        how = "as published" if found.verified else "no published SHA-256 to compare"
        self._tell(f"{found.path.name} is here ({how}): {found.path}")
        if entry.task in _MASKS:
            self.fetched.emit(found.path)

    def _tell(self, sentence: str, *, failed: bool = False) -> None:
        set_tone(self._status, RED if failed else None)
        self._status.setText(sentence)
        self._status.show()
