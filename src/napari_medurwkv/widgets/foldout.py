"""A heading that folds what is under it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

__all__ = ["Foldout"]


class Foldout(QWidget):
    """Content under a button that shows and hides it; hidden at first.

    Parameters
    ----------
    title : str
        On the button.
    content : QWidget
        What is folded.
    """

    folded = Signal(bool)
    """Emits whether the content is shown now."""

    def __init__(
        self, title: str, content: QWidget, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._title = title
        self._content = content
        self._button = QPushButton()
        self._button.setFlat(True)
        self._button.setCheckable(True)
        self._button.setStyleSheet("text-align: left; padding: 3px 6px;")
        self._button.toggled.connect(self._fold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._button)
        layout.addWidget(content)
        self._fold(False)

    @property
    def unfolded(self) -> bool:
        """Whether the content is shown."""
        return bool(self._button.isChecked())

    def unfold(self, show: bool = True) -> None:
        """Show or hide the content."""
        self._button.setChecked(show)

    def _fold(self, show: bool) -> None:
        self._content.setVisible(show)
        self.folded.emit(show)
        self._button.setText(f"{'▾' if show else '▸'}  {self._title}")
