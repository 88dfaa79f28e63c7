"""A combo box of layers that follows the viewer's list, its names and its selection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox

from napari_medurwkv.widgets.helper_layers import is_helper
from napari_medurwkv.widgets.look import let_shrink

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari.layers import Layer
    from qtpy.QtWidgets import QWidget

__all__ = ["LayerPicker"]


class LayerPicker(QComboBox):
    """Choose one layer of one kind.

    Layers are held as objects and told apart by their `unique_id`, never by name, so
    renaming and reordering change only what is shown. The choice follows napari's
    active layer until the user chooses in the box; it stays as long as the layer does.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are listed.
    layer_type : type
        Class of the layers, for example `napari.layers.Image`.
    hint : str
        Shown while there is no such layer.
    follow : bool
        Whether the choice follows napari's active layer.
    """

    layer_changed = Signal(object)

    def __init__(
        self,
        viewer: Any,
        layer_type: type[Layer],
        hint: str,
        parent: QWidget | None = None,
        *,
        follow: bool = True,
    ) -> None:
        super().__init__(parent)
        self._follow = follow
        self._left_out: Hashable | None = None
        self._viewer = viewer
        self._layer_type = layer_type
        self._layers: dict[Hashable, Layer] = {}
        self._announced: Hashable | None = None
        self.setPlaceholderText(hint)
        let_shrink(self)
        self.currentIndexChanged.connect(self._announce)
        events = viewer.layers.events
        events.inserted.connect(self._refresh)
        events.removed.connect(self._refresh)
        events.reordered.connect(self._refresh)
        viewer.layers.selection.events.active.connect(self._follow_active)
        self._refresh()
        self._follow_active()

    def disconnect_viewer(self) -> None:
        """Stop listening; call it before the widget goes."""
        events = self._viewer.layers.events
        events.inserted.disconnect(self._refresh)
        events.removed.disconnect(self._refresh)
        events.reordered.disconnect(self._refresh)
        self._viewer.layers.selection.events.active.disconnect(self._follow_active)
        for layer in self._layers.values():
            layer.events.name.disconnect(self._rename)
        self._layers.clear()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        return self._layers.get(self.currentData())

    def choose(self, layer: Layer) -> None:
        """Choose a layer of the list."""
        index = self._index_of(layer.unique_id)
        if index >= 0:
            self.setCurrentIndex(index)

    def leave_out(self, layer: Layer | None) -> None:
        """Do not list a layer, such as the one that another shall be chosen for."""
        self._left_out = None if layer is None else layer.unique_id
        self._refresh()

    def _listed(self, layer: Layer) -> bool:
        own = isinstance(layer, self._layer_type) and not is_helper(layer)
        return own and layer.unique_id != self._left_out

    def _refresh(self, event: Any = None) -> None:
        chosen = self.currentData()
        present = {
            layer.unique_id: layer
            for layer in reversed(self._viewer.layers)
            if self._listed(layer)
        }
        for key, layer in self._layers.items():
            if key not in present:
                layer.events.name.disconnect(self._rename)
        for key, layer in present.items():
            if key not in self._layers:
                layer.events.name.connect(self._rename)
        self._layers = present
        self.blockSignals(True)
        self.clear()
        for key, layer in present.items():
            self.addItem(layer.name, key)
        index = self._index_of(chosen) if chosen in present else self._default_index()
        self.setCurrentIndex(index)
        self.blockSignals(False)
        self.setEnabled(bool(present))
        self._announce()

    def _default_index(self) -> int:
        active = self._viewer.layers.selection.active
        if self._follow and active is not None and active.unique_id in self._layers:
            return self._index_of(active.unique_id)
        return 0 if self._layers else -1

    def _follow_active(self, event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if self._follow and active is not None and active.unique_id in self._layers:
            self.choose(active)

    def _rename(self, event: Any = None) -> None:
        for index in range(self.count()):
            self.setItemText(index, self._layers[self.itemData(index)].name)

    def _index_of(self, key: Hashable) -> int:
        for index in range(self.count()):
            if self.itemData(index) == key:
                return index
        return -1

    def _announce(self, *_: Any) -> None:
        key = self.currentData()
        self.setToolTip(self.currentText())
        if key != self._announced:
            self._announced = key
            self.layer_changed.emit(self.layer)
