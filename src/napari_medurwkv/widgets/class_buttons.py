"""What can be done with the chosen class, and how strongly the mask is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from napari.layers import Labels

__all__ = ["ClassButtons"]


class ClassButtons(QWidget):
    """Add, colour, copy, isolate, and the opacity of the layer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layer: Labels | None = None
        self.add = QPushButton("Add")
        self.add.setToolTip("Add a class")
        self.color = QPushButton("Colour…")
        self.color.setToolTip("Change the colour of the chosen class")
        self.copy = QPushButton("Copy")
        self.copy.setToolTip("Copy the numbers as a table")
        self.csv = QPushButton("CSV")
        self.csv.setToolTip("Copy the numbers as comma-separated values")
        self.isolate = QPushButton("Isolate")
        self.isolate.setToolTip("Show the chosen class only")
        self.isolate.setCheckable(True)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setToolTip("Opacity of the mask")
        self.opacity.valueChanged.connect(self._set)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        row, below = QHBoxLayout(), QHBoxLayout()
        for part in (self.add, self.color, self.copy, self.csv, self.isolate):
            row.addWidget(part, 1)
        below.addWidget(QLabel("Opacity"))
        below.addWidget(self.opacity, 1)
        column.addLayout(row)
        column.addLayout(below)

    def use(self, layer: Labels | None, *, alive: bool = True) -> None:
        """Follow another layer.

        Parameters
        ----------
        layer : Labels or None
            Whose opacity the slider shows.
        alive : bool
            Whether the widgets still live.
        """
        if self._layer is not None:
            self._layer.events.opacity.disconnect(self._show)
        self._layer = layer
        if alive:
            self.isolate.setChecked(False)
        if layer is not None:
            layer.events.opacity.connect(self._show)
            self._show()

    def _show(self, event: Any = None) -> None:
        if self._layer is not None:
            self.opacity.blockSignals(True)
            self.opacity.setValue(round(100 * self._layer.opacity))
            self.opacity.blockSignals(False)

    def _set(self, value: int) -> None:
        if self._layer is not None:
            self._layer.opacity = value / 100
