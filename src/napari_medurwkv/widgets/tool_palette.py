"""The tools as named icons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QSizePolicy, QToolButton, QWidget

from napari_medurwkv.correction.catalogue import TOOLS, find_tool
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.tool_icons import make_icon, make_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ToolPalette"]

_COLUMNS = 4


class ToolPalette(QWidget):
    """One button per tool; the one in use stays down."""

    chosen = Signal(object)
    """Emits the tool, or None where the one in use was put away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[str, QToolButton] = {}
        self._group = QButtonGroup(self)
        self._group.setExclusive(False)
        self._task: BackgroundTask | None = None
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        for k, tool in enumerate(TOOLS):
            button = QToolButton()
            button.setText(tool.title)
            button.setToolTip(f"{tool.hint} ({tool.key.replace('-', '+')})")
            button.setAccessibleName(tool.title)
            button.setCheckable(True)
            button.setIconSize(QSize(26, 26))
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            font = button.font()
            font.setPointSizeF(max(6.5, font.pointSizeF() * 0.75))
            button.setFont(font)
            button.clicked.connect(lambda down, n=tool.name: self._on_click(n, down))
            self._group.addButton(button)
            self.buttons[tool.name] = button
            grid.addWidget(button, k // _COLUMNS, k % _COLUMNS)

    def draw_icons(self) -> None:
        """Draw the icons; they come a moment later."""
        if self._task is None:
            self._task = in_background(make_pixels, self._show_icons)

    def forget(self) -> None:
        """Forget about icons that are still being drawn."""
        if self._task is not None:
            self._task.abandon()

    def choose(self, name: str | None) -> None:
        """Take a tool, as a click would; None puts away the one in use."""
        self._press(name)
        self.chosen.emit(None if name is None else find_tool(name))

    def _on_click(self, name: str, down: bool) -> None:
        self.choose(name if down else None)

    def _press(self, name: str | None) -> None:
        for own, button in self.buttons.items():
            button.setChecked(own == name)

    def _show_icons(self, outcome: Outcome[dict[str, NDArray]]) -> None:
        if outcome.error is not None:
            raise outcome.error
        for name, pixels in (outcome.value or {}).items():
            self.buttons[name].setIcon(make_icon(pixels))
