"""Names of classes with the colours they get in the mask."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medurwkv.widgets.look import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_medurwkv.checkpoints import ClassInfo

__all__ = ["ClassLegend"]


class ClassLegend(QWidget):
    """A line of coloured squares, each followed by a class name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._label = WrappedLabel()
        self._label.setTextFormat(Qt.TextFormat.RichText)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label)

    def show_classes(self, classes: Iterable[ClassInfo]) -> None:
        """Show these classes, in order."""
        # Names come from a file: they are escaped. The colour is six hex digits.
        self._label.setText(
            "&nbsp;&nbsp; ".join(
                f'<span style="color:{info.color}">■</span>&nbsp;'
                + escape(info.name).replace(" ", "&nbsp;")
                for info in classes
            )
        )
