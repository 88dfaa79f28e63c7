"""How much of the image: all, what a rectangle encloses, or first one slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from napari_medurwkv.widgets.helper_layers import is_helper
from napari_medurwkv.widgets.look import let_shrink

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["PartChoice"]

_WHOLE = "Whole image"


class PartChoice(QWidget):
    """A button that previews the slice on screen, and a choice of rectangles.

    The choice shows itself where there are Shapes layers to choose from.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose Shapes layers are listed.

    Attributes
    ----------
    preview : QPushButton
        Asks for the slice on screen.
    """

    preview_clicked = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers: dict[Hashable, Shapes] = {}
        self._combo = QComboBox()
        self._combo.setToolTip("Segment only inside a rectangle that you have drawn")
        let_shrink(self._combo)
        self.preview = QPushButton("Preview this slice")
        self.preview.setToolTip("Segment the slice on screen before the whole volume")
        self.preview.clicked.connect(self.preview_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.preview)
        row.addWidget(self._combo, 1)
        self._events = (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.events.reordered,
        )
        for event in self._events:
            event.connect(self._refresh)
        self.preview.hide()
        self._refresh()

    @property
    def shapes(self) -> Shapes | None:
        """The layer whose rectangle is meant; None for the whole image."""
        return self._layers.get(self._combo.currentData())

    def choose(self, shapes: Shapes | None) -> None:
        """Choose a Shapes layer, or the whole image."""
        key = None if shapes is None else shapes.unique_id
        for index in range(self._combo.count()):
            if self._combo.itemData(index) == key:
                self._combo.setCurrentIndex(index)

    def show_dimensions(self, dimensions: int | None) -> None:
        """Offer the preview where there are slices."""
        self.preview.setVisible(dimensions == 3)

    def disconnect_viewer(self) -> None:
        """Stop listening; call it before the widget goes."""
        for event in self._events:
            event.disconnect(self._refresh)
        for layer in self._layers.values():
            layer.events.name.disconnect(self._rename)
        self._layers.clear()

    def _refresh(self, event: Any = None) -> None:
        chosen = self._combo.currentData()
        present = {
            layer.unique_id: layer
            for layer in reversed(self._viewer.layers)
            if isinstance(layer, Shapes) and not is_helper(layer)
        }
        for key, layer in self._layers.items():
            if key not in present:
                layer.events.name.disconnect(self._rename)
        for key, layer in present.items():
            if key not in self._layers:
                layer.events.name.connect(self._rename)
        self._layers = present
        self._combo.clear()
        self._combo.addItem(_WHOLE, None)
        for key, layer in present.items():
            self._combo.addItem(f"Inside {layer.name}", key)
        self.choose(present.get(chosen))
        self._combo.setVisible(bool(present))

    def _rename(self, event: Any = None) -> None:
        for index in range(1, self._combo.count()):
            layer = self._layers[self._combo.itemData(index)]
            self._combo.setItemText(index, f"Inside {layer.name}")
