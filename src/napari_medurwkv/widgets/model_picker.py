"""Choose a checkpoint and see its card."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.checkpoints.lookup import SUFFIXES
from napari_medurwkv.errors import CheckpointError
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.card_view import CardView
from napari_medurwkv.widgets.foldout import Foldout
from napari_medurwkv.widgets.look import RED, WrappedLabel, let_shrink, set_tone
from napari_medurwkv.widgets.model_manager import ModelManager
from napari_medurwkv.widgets.model_process import add_model, look_at
from napari_medurwkv.widgets.public_models import PublicModels
from napari_medurwkv.widgets.unknown_file import UnknownFileForm

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QObject
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_medurwkv.checkpoints import CatalogueEntry

__all__ = ["ModelList", "ModelPicker", "list_installed"]


@dataclass(frozen=True, slots=True)
class ModelList:
    """What can be chosen.

    Attributes
    ----------
    entries : tuple of CatalogueEntry
        The checkpoints, those of the package first.
    defaults : dict
        Name of the model that is offered first, by dimensions of the image.
    problems : tuple of str
        A sentence for every file that cannot be used.
    """

    entries: tuple[CatalogueEntry, ...]
    defaults: dict[int, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def list_installed() -> ModelList:
    """List the catalogue; reads and hashes files, so it belongs into a thread."""
    from napari_medurwkv.checkpoints import catalogue, default_for, unusable

    entries = catalogue()
    defaults = {}
    for dimensions in (2, 3):
        # A package without embedded checkpoints has no default, but may have models.
        with contextlib.suppress(CheckpointError):
            defaults[dimensions] = default_for(dimensions, False).name
    for entry in entries:
        entry.sha256  # noqa: B018 - computed once, kept by the catalogue
    return ModelList(entries, defaults, tuple(map(str, unusable())))


class ModelPicker(QWidget):
    """A combo box of checkpoints over the card of the chosen one.

    Parameters
    ----------
    preferred : str
        Name of the model to take at the start, whatever the image; "" for none.
    list_models : callable, optional
        Gives what can be chosen; the catalogue by default. Called in a thread.
    """

    model_changed = Signal(object)

    def __init__(
        self,
        preferred: str = "",
        list_models: Callable[[], ModelList] = list_installed,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._preferred = preferred
        self._entries: list[CatalogueEntry] = []
        self._defaults: dict[int, str] = {}
        self._listing = True
        self._dimensions: int | None = None
        self._problem = WrappedLabel()
        set_tone(self._problem, RED)
        self._problem.hide()
        self._combo = QComboBox()
        self._combo.setPlaceholderText("reading the models…")
        let_shrink(self._combo)
        self._open = QPushButton("Open…")
        self._open.setToolTip(
            "Use a checkpoint of your own (.safetensors, .pth, .pt, .ckpt, .bin); "
            "dropping one here does the same"
        )
        self._open.clicked.connect(self._ask_file)
        self.card = CardView()
        self.form = UnknownFileForm()
        self.form.accepted.connect(self._add_answered)
        self.manager = ModelManager()
        self.manager.add_clicked.connect(self._ask_file)
        self.manager.remove_confirmed.connect(self._remove)
        self.public = PublicModels()
        self.public.fetched.connect(self.add_file)
        self.setAcceptDrops(True)
        row = QHBoxLayout()
        row.addWidget(self._combo, 1)
        row.addWidget(self._open)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._problem)
        layout.addWidget(self.form)
        layout.addWidget(self.card)
        layout.addWidget(Foldout("Manage models", self.manager))
        layout.addWidget(Foldout("Public models", self.public))
        self._combo.currentIndexChanged.connect(self._announce)
        self._task: BackgroundTask | None = in_background(list_models, self._fill)

    @property
    def entry(self) -> CatalogueEntry | None:
        """The chosen checkpoint."""
        index = self._combo.currentIndex()
        return self._entries[index] if 0 <= index < len(self._entries) else None

    @property
    def listing(self) -> bool:
        """Whether the models are still being listed."""
        return self._listing

    @property
    def problem(self) -> str:
        """What could not be listed or read."""
        return str(self._problem.text())

    @property
    def entries(self) -> tuple[CatalogueEntry, ...]:
        """All that can be chosen."""
        return tuple(self._entries)

    def choose(self, name: str) -> None:
        """Choose a checkpoint by its name; raises KeyError if it is not listed."""
        for index, entry in enumerate(self._entries):
            if entry.name == name:
                self._combo.setCurrentIndex(index)
                return
        raise KeyError(name)

    def suit(self, dimensions: int | None) -> None:
        """Choose a model for images of so many dimensions, unless one is chosen.

        Parameters
        ----------
        dimensions : int or None
            Spatial dimensions of the image; None while there is none.
        """
        self._dimensions = dimensions
        if dimensions is None or not self._entries:
            return
        entry = self.entry
        if entry is not None and entry.card.dimensions == dimensions:
            return
        fitting = [e for e in self._entries if e.card.dimensions == dimensions]
        default = self._defaults.get(dimensions)
        fitting.sort(key=lambda e: e.name != default)
        if fitting:
            self._combo.setCurrentIndex(self._entries.index(fitting[0]))

    def add_file(self, path: str | Path) -> None:
        """Look at a checkpoint in the background, then list and choose it.

        One that came without a card is asked about first.
        """
        self._tell(f"Looking at {Path(path).name}…")
        self._task = in_background(lambda: look_at(Path(path)), self._looked)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Welcome one file that may be a checkpoint."""
        if _dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Add the file that was dropped."""
        path = _dropped(event)
        if path is not None:
            event.acceptProposedAction()
            self.add_file(path)

    def take_drops_of(self, panel: QWidget) -> None:
        """Add checkpoints that are dropped anywhere on a panel."""
        panel.setAcceptDrops(True)
        panel.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take files that are dragged over the panel for one's own."""
        if event.type() == QEvent.Type.DragEnter:
            self.dragEnterEvent(event)
        elif event.type() == QEvent.Type.Drop:
            self.dropEvent(event)
        else:
            return bool(super().eventFilter(watched, event))
        return bool(event.isAccepted())

    def abandon(self) -> None:
        """Forget about a reading or download under way."""
        self.public.abandon()
        if self._task is not None:
            self._task.abandon()

    def _fill(self, outcome: Outcome[ModelList]) -> None:
        self._listing = False
        if outcome.value is None:
            self._announce()
            self._show_problem(f"The models cannot be listed: {outcome.error}")
            return
        self._defaults = outcome.value.defaults
        if outcome.value.problems:
            self._show_problem("\n".join(outcome.value.problems))
        self._combo.blockSignals(True)
        for entry in outcome.value.entries:
            self._append(entry)
        names = [entry.name for entry in self._entries]
        self._combo.setPlaceholderText("no model found; open a checkpoint")
        self._combo.setCurrentIndex(-1)
        self._combo.blockSignals(False)
        if self._preferred in names:
            self._combo.setCurrentIndex(names.index(self._preferred))
        else:
            if self._preferred:
                self._show_problem(
                    f"The preferences ask for the model {self._preferred!r}, which is "
                    "not installed; change them or choose another."
                )
            self.suit(self._dimensions)
        if self.entry is None and self._entries:
            self._combo.setCurrentIndex(0)
        if not self._entries:
            self._announce()

    def _looked(self, outcome: Outcome[CatalogueEntry | dict[str, Any]]) -> None:
        facts = outcome.value
        if not isinstance(facts, dict):
            self._add(Outcome(facts, outcome.error))
            return
        name = Path(facts["path"]).name
        if facts["card"] is None:
            self._show_problem(
                f"{name} is a {facts['family']}: an encoder to start a training from, "
                "which gives no mask."
            )
        elif facts["uncertain"]:
            self._problem.hide()
            self.form.ask(facts)
        else:
            self._add_answered(Path(facts["path"]), [])

    def _add_answered(self, path: Path, options: list[str]) -> None:
        self._tell(f"Adding {path.name}…")
        self._task = in_background(lambda: add_model(path, options), self._add)

    def _remove(self, entry: CatalogueEntry) -> None:
        def work() -> CatalogueEntry:
            from napari_medurwkv.checkpoints import manage

            manage.remove(entry.name)
            return entry

        self._task = in_background(work, self._removed)

    def _removed(self, outcome: Outcome[CatalogueEntry]) -> None:
        if outcome.value is None:
            self._show_problem(str(outcome.error))
            return
        index = self._entries.index(outcome.value)
        del self._entries[index]
        self._combo.removeItem(index)
        self._announce()

    def _add(self, outcome: Outcome[CatalogueEntry]) -> None:
        if outcome.error is not None or outcome.value is None:
            self._show_problem(str(outcome.error))
            return
        self._problem.hide()
        paths = [entry.path for entry in self._entries]
        if outcome.value.path in paths:
            index = paths.index(outcome.value.path)
            self._entries[index] = outcome.value
            self._combo.setItemText(index, outcome.value.card.title)
        else:
            self._append(outcome.value)
            index = self._combo.count() - 1
        if index == self._combo.currentIndex():
            self._announce()
        self._combo.setCurrentIndex(index)

    def _append(self, entry: CatalogueEntry) -> None:
        self._entries.append(entry)
        self._combo.addItem(entry.card.title)
        tip = f"{entry.name} – {entry.path}"
        self._combo.setItemData(
            self._combo.count() - 1, tip, Qt.ItemDataRole.ToolTipRole
        )

    def _tell(self, sentence: str) -> None:
        set_tone(self._problem, None)
        self._problem.setText(sentence)
        self._problem.show()

    def _show_problem(self, sentence: str) -> None:
        set_tone(self._problem, RED)
        self._problem.setText(sentence)
        self._problem.show()

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self,
            "Open a checkpoint",
            "",
            f"Checkpoints ({' '.join(f'*{suffix}' for suffix in SUFFIXES)})",
        )
        if path:
            self.add_file(path)

    def _announce(self, *_: object) -> None:
        entry = self.entry
        self.card.show_entry(entry)
        self.manager.show_entry(entry)
        self.model_changed.emit(entry)


def _dropped(event: QDropEvent) -> Path | None:
    """Return the one checkpoint file that is dragged."""
    urls = event.mimeData().urls()
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    return path if path.suffix.lower() in SUFFIXES else None
