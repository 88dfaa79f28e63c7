"""Colours and small builders that the panels share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QLabel, QSizePolicy

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = [
    "AMBER",
    "GREEN",
    "RED",
    "heading",
    "set_tone",
    "swatch",
    "wrapped_label",
]

# Readable on napari's dark and light themes alike.
AMBER = "#d97706"
RED = "#e5484d"
GREEN = "#30a46c"


def wrapped_label(text: str = "", parent: QWidget | None = None) -> QLabel:
    """Make a label that breaks its lines and never widens its panel."""
    label = QLabel(text, parent)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def heading(text: str) -> QLabel:
    """Make the small bold line over a group of controls."""
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def set_tone(label: QLabel, color: str | None) -> None:
    """Give a label's text a colour; None takes the theme's."""
    label.setStyleSheet("" if color is None else f"color: {color};")


def swatch(color: str, size: int = 12) -> QIcon:
    """Make a small square of a colour, given as #rrggbb."""
    pixmap = QPixmap(QSize(size, size))
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
