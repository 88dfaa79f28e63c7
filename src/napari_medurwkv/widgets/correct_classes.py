"""The classes of a mask with their numbers, kept up to date while one paints."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
)

from napari_medurwkv.widgets.class_table import format_size
from napari_medurwkv.widgets.look import swatch

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent
    from qtpy.QtWidgets import QWidget

    from napari_medurwkv.correction.classes import LabelClass
    from napari_medurwkv.widgets.correction_session import CorrectionSession

__all__ = ["CorrectClasses", "Row", "class_rows", "rows_as_text"]

_ROW_HEIGHT = 22
_MOST_ROWS = 8  # more are scrolled to
_STYLE = "QHeaderView::section { padding: 2px 3px; }"
_COLUMNS = (
    "Show",
    "Lock",
    "Class",
    "Size",
    "Change",
    "Islands",
    "Voxels",
    "Slices",
    "Mean",
)


@dataclass(frozen=True, slots=True)
class Row:
    """Numbers of one class.

    Attributes
    ----------
    info : LabelClass
        The class.
    voxels, change : int
        How many it has, and how many more than when the session began.
    size, unit
        Volume or area, in mL, mm² or pixels.
    islands : int or None
        Connected components; None while they are first counted.
    slices : int
        How many slices of the first axis hold it.
    mean : float
        Of the image; NaN without one.
    """

    info: LabelClass
    voxels: int
    change: int
    size: float
    unit: str
    islands: int | None
    slices: int
    mean: float


def class_rows(session: CorrectionSession) -> tuple[Row, ...]:
    """Return the numbers of every class; none before they are counted."""
    mask, counts = session.mask, session.mask.counts
    if counts is None:
        return ()
    ndim = len(mask.spacing)
    one, unit = 1.0, "px"
    if session.known_size:
        one = float(np.prod(mask.spacing)) / (1000 if ndim == 3 else 1)
        unit = "mL" if ndim == 3 else "mm²"
    before: dict[int, int] = {}
    if session.original is not None:
        totals = session.original.voxels.sum(axis=1).tolist()
        before = dict(zip(session.original.values.tolist(), totals, strict=True))
    rows = []
    for info in mask.classes:
        voxels = counts.voxels(info.value)
        rows.append(
            Row(
                info,
                voxels,
                voxels - before.get(info.value, 0),
                voxels * one,
                unit,
                session.components.number(info.value),
                len(counts.planes(info.value)),
                counts.mean_intensity(info.value)
                if mask.image is not None
                else float("nan"),
            )
        )
    return tuple(rows)


def rows_as_text(rows: tuple[Row, ...], delimiter: str = "\t") -> str:
    """Write the numbers as a table that spreadsheets read."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    unit = rows[0].unit if rows else "px"
    writer.writerow(
        (
            "label",
            "name",
            f"size ({unit})",
            "voxels",
            "change",
            "islands",
            "slices",
            "mean",
        )
    )
    for row in rows:
        mean = "" if np.isnan(row.mean) else f"{row.mean:.6g}"
        writer.writerow(
            (
                row.info.value,
                row.info.name,
                f"{row.size:.6g}",
                row.voxels,
                row.change,
                "" if row.islands is None else row.islands,
                row.slices,
                mean,
            )
        )
    return stream.getvalue()


class CorrectClasses(QTableWidget):
    """One row per class: shown, locked, colour and name, and its numbers.

    A click on a row chooses the class and goes to where there is most of it; a double
    click on the name changes it, with Shift its colour.
    """

    edited = Signal(str, object)
    """Emits the name of the step, and the new list of classes."""

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        self._rows: tuple[Row, ...] = ()
        self._filling = False
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        self.verticalHeader().hide()
        self.setShowGrid(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        trigger = QAbstractItemView.EditTrigger
        self.setEditTriggers(trigger.DoubleClicked | trigger.EditKeyPressed)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Interactive)
        header.setMinimumSectionSize(24)
        self.setColumnWidth(2, 84)
        self.setStyleSheet(_STYLE)
        font = self.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.85))
        self.setFont(font)
        header.setFont(font)
        self.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        self._fit_height()
        self.itemChanged.connect(self._on_item)
        self.cellClicked.connect(self._on_click)
        self.setToolTip(
            "Click a class, or press Enter, to choose it and to go to it; double-click "
            "its name, or press F2, to change it"
        )

    @property
    def rows(self) -> tuple[Row, ...]:
        """What is shown."""
        return self._rows

    @property
    def selected(self) -> tuple[int, ...]:
        """Values of the selected classes."""
        index = sorted({item.row() for item in self.selectedItems()})
        return tuple(self._rows[k].info.value for k in index if k < len(self._rows))

    def show_rows(self, rows: tuple[Row, ...]) -> None:
        """Show numbers; only what differs is written."""
        if rows == self._rows and self.rowCount() == len(rows):
            return
        self._filling = True
        try:
            self.setRowCount(len(rows))
            for k, row in enumerate(rows):
                old = self._rows[k] if k < len(self._rows) else None
                if old is None or old.info != row.info:
                    self._write_class(k, row.info)
                if old != row:
                    self._write_numbers(k, row)
            self._rows = rows
            self._fit_height()
        finally:
            self._filling = False

    def _fit_height(self) -> None:
        """Show all classes of an ordinary mask; the scroll bar takes no row away."""
        rows = min(max(len(self._rows), 3), _MOST_ROWS)
        bar = self.horizontalScrollBar().sizeHint().height()
        head = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(head + rows * _ROW_HEIGHT + bar + 4)

    def select_value(self, value: int) -> None:
        """Mark a class as the chosen one."""
        for k, row in enumerate(self._rows):
            if row.info.value == value and self.currentRow() != k:
                self.setCurrentCell(k, 2)

    def change_color(self, value: int, color: str) -> None:
        """Give a class another colour."""
        self._edit(value, "Colour", color=color)

    def ask_color(self) -> None:
        """Ask for a colour for the chosen class."""
        for value in self.selected[:1]:
            info = next(r.info for r in self._rows if r.info.value == value)
            color = QColorDialog.getColor(QColor(info.color), self, info.name)
            if color.isValid():
                self.change_color(value, color.name())

    def set_locked(self, value: int, locked: bool) -> None:
        """Lock or unlock a class."""
        self._edit(value, "Lock" if locked else "Unlock", locked=locked)

    def set_visible(self, value: int, visible: bool) -> None:
        """Show or hide a class."""
        self._edit(value, "Show" if visible else "Hide", visible=visible)

    def rename(self, value: int, name: str) -> None:
        """Give a class another name."""
        self._edit(value, "Rename", name=name)

    def _edit(self, value: int, what: str, **changes: Any) -> None:
        classes = tuple(
            replace(row.info, **changes) if row.info.value == value else row.info
            for row in self._rows
        )
        before = next(row.info for row in self._rows if row.info.value == value)
        if classes != tuple(row.info for row in self._rows):
            self.edited.emit(f"{what} {before.name}", classes)

    def _write_class(self, k: int, info: LabelClass) -> None:
        for column, state in ((0, info.visible), (1, info.locked)):
            box = QTableWidgetItem()
            box.setFlags(
                Qt.ItemFlag.ItemIsUserCheckable
                | Qt.ItemFlag.ItemIsEnabled
                | Qt.ItemFlag.ItemIsSelectable
            )
            checked = Qt.CheckState.Checked if state else Qt.CheckState.Unchecked
            box.setCheckState(checked)
            self.setItem(k, column, box)
        name = QTableWidgetItem(swatch(info.color), info.name)
        name.setToolTip(f"{info.name} (label {info.value})")
        self.setItem(k, 2, name)

    def _write_numbers(self, k: int, row: Row) -> None:
        change = f"{row.change:+,}".replace(",", "\u202f").replace("-", "−")
        change = change if row.change else "0"
        texts = (
            format_size(row.size, row.unit),
            change,
            "…" if row.islands is None else str(row.islands),
            f"{row.voxels:,}".replace(",", "\u202f"),
            str(row.slices),
            "–" if np.isnan(row.mean) else f"{row.mean:.4g}",
        )
        for column, text in enumerate(texts, 3):
            item = self.item(k, column)
            if item is None:
                item = QTableWidgetItem()
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                item.setTextAlignment(right)
                self.setItem(k, column, item)
            item.setText(text)

    def _on_item(self, item: QTableWidgetItem) -> None:
        if self._filling or item.row() >= len(self._rows):
            return
        info = self._rows[item.row()].info
        checked = item.checkState() == Qt.CheckState.Checked
        if item.column() == 0:
            self.set_visible(info.value, checked)
        elif item.column() == 1:
            self.set_locked(info.value, checked)
        elif item.column() == 2 and item.text().strip():
            self.rename(info.value, item.text().strip())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Let Enter do what a click does."""
        enter = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        editing = self.state() == QAbstractItemView.State.EditingState
        if event.key() in enter and not editing:
            self._on_click(self.currentRow(), 2)
            event.accept()
            return
        super().keyPressEvent(event)

    def _on_click(self, row: int, column: int) -> None:
        if column >= 2 and 0 <= row < len(self._rows):
            self.chosen.emit(self._rows[row].info.value)
