"""Colours and small builders that the panels share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QComboBox, QLabel, QScrollArea, QSizePolicy

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent
    from qtpy.QtWidgets import QWidget

__all__ = [
    "AMBER",
    "GREEN",
    "RED",
    "WrappedLabel",
    "heading",
    "let_shrink",
    "set_tone",
    "swatch",
]

# Readable on napari's dark and light themes alike.
AMBER = "#d97706"
RED = "#e5484d"
GREEN = "#30a46c"


class WrappedLabel(QLabel):
    """A label that breaks its lines, never widens its panel and wastes no height.

    A scroll area asks for heights before it gives widths, and Qt then answers for a
    narrow column; this label answers for the width that it has.
    """

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def sizeHint(self) -> QSize:
        """Return the height of the text at the present width."""
        return QSize(0, self.heightForWidth(max(self.width(), 80)))

    def minimumSizeHint(self) -> QSize:
        """Return the same: the text is never cut."""
        return self.sizeHint()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Ask for another height where another width breaks the lines elsewhere."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()


def heading(text: str) -> QLabel:
    """Make the small bold line over a group of controls."""
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def let_shrink(combo: QComboBox) -> None:
    """Let a combo box become narrower than its longest entry."""
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    combo.setSizeAdjustPolicy(
        QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    )
    combo.setMinimumContentsLength(8)
    # Qt counts the placeholder too, unless told otherwise.
    combo.setMinimumWidth(80)


def scrolled(content: QWidget) -> QScrollArea:
    """Put content into an area that scrolls up and down only."""
    area = QScrollArea()
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return area


def set_tone(label: QLabel, color: str | None) -> None:
    """Give a label's text a colour; None takes the theme's."""
    label.setStyleSheet("" if color is None else f"color: {color};")


def swatch(color: str, size: int = 12) -> QIcon:
    """Make a small square of a colour, given as #rrggbb."""
    pixmap = QPixmap(QSize(size, size))
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
