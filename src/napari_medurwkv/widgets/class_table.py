"""The table of classes: colour, name, volume or area, voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
)

from napari_medurwkv.widgets.look import swatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medurwkv.measure import ClassMeasure

__all__ = ["ClassTable"]


class ClassTable(QTableWidget):
    """One row per class of a mask; as high as its rows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 3, parent)
        self.verticalHeader().hide()
        self.setShowGrid(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        self.hide()

    def show_measures(self, measures: Sequence[ClassMeasure]) -> None:
        """Show what was measured: one row per class, objects where they are counted."""
        objects = any(measure.components is not None for measure in measures)
        unit = measures[0].unit if measures else "px"
        first = "Volume" if unit == "mL" else "Size" if unit == "px" else "Area"
        third = "Objects" if objects else "Voxels" if unit == "mL" else "Pixels"
        self.setHorizontalHeaderLabels(["Class", first, third])
        self.setRowCount(len(measures))
        for row, measure in enumerate(measures):
            name = QTableWidgetItem(swatch(measure.color), measure.name)
            name.setToolTip(f"{measure.name} (value {measure.value})")
            size = _number(format_size(measure.size, measure.unit))
            count = measure.components if objects else measure.voxels
            self.setItem(row, 0, name)
            self.setItem(row, 1, size)
            self.setItem(row, 2, _number(f"{count:,}".replace(",", "\u202f")))
        self.resizeRowsToContents()
        height = self.horizontalHeader().sizeHint().height() + 2 * self.frameWidth()
        self.setFixedHeight(
            height + sum(self.rowHeight(row) for row in range(self.rowCount()))
        )
        self.show()

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the texts shown, one tuple per class."""
        return [
            tuple(self.item(row, column).text() for column in range(3))
            for row in range(self.rowCount())
        ]


def format_size(size: float, unit: str) -> str:
    """Write a volume or area with three significant digits or more.

    Parameters
    ----------
    size : float
        In `unit`.
    unit : str
        "mL", "mm²" or "px".
    """
    if unit == "px":
        return f"{size:,.0f} px".replace(",", "\u202f")
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 1000 else 0
    return f"{size:,.{digits}f} {unit}".replace(",", "\u202f")


def _number(text: str) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item
