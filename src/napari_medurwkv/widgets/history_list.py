"""The steps of a mask as a list that one can go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QListWidget, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from qtpy.QtWidgets import QListWidgetItem

    from napari_medurwkv.correction.history import History

__all__ = ["HistoryList"]


class HistoryList(QWidget):
    """Names of all steps; a click goes there."""

    chosen = Signal(int)
    """Emits how many steps shall be done."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.list = QListWidget()
        self.list.setMinimumHeight(90)
        self.list.setToolTip(
            "Click a step, or press Enter, to go back, or forward, to it"
        )
        self._size = QLabel()
        self._shown: tuple[object, ...] = ()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list)
        layout.addWidget(self._size)
        self.list.itemClicked.connect(self._on_click)
        self.list.itemActivated.connect(self._on_click)  # by Enter

    @property
    def size_text(self) -> str:
        """What is said about memory."""
        return str(self._size.text())

    def show_history(self, history: History | None) -> None:
        """Show the steps; None shows nothing."""
        if history is None:
            self.list.clear()
            self._size.setText("")
            self._shown = ()
            return
        steps = history.steps
        names = [_name(step.name, step.voxels) for step in steps]
        shown = (tuple(id(step) for step in steps), history.forgotten)
        if shown != self._shown:
            self._shown = shown
            self.list.clear()
            self.list.addItem("As it was opened" if not history.forgotten else "…")
            self.list.addItems(names)
            text = f"{history.nbytes / 1e6:.1f} of {history.budget / 1e6:.0f} MB"
            if history.forgotten:
                text += f"; the {history.forgotten} oldest steps are forgotten"
            self._size.setText(text)
        self.list.setCurrentRow(history.position)
        for k in range(self.list.count()):
            item = self.list.item(k)
            font = item.font()
            font.setItalic(k > history.position)
            item.setFont(font)

    def _on_click(self, item: QListWidgetItem) -> None:
        self.chosen.emit(self.list.row(item))


def _name(name: str, voxels: int) -> str:
    if not voxels:
        return name
    return f"{name} ({voxels:,} voxels)".replace(",", "\u202f")
