"""Layers that tools draw on and show previews with; nobody should choose them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["add_helper", "is_helper", "remove_helper"]

_MARK = "medurwkv-helper"


def is_helper(layer: Layer) -> bool:
    """Return whether a layer is one of these."""
    return bool(layer.metadata.get(_MARK))


def add_helper(viewer: Any, layer: Layer, active: Layer | None) -> None:
    """Add a helper on top, and keep another layer active.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Gets the layer.
    layer : Layer
        The helper.
    active : Layer or None
        The layer that shall be active; None for the helper itself.
    """
    layer.metadata = {**layer.metadata, _MARK: True}
    viewer.add_layer(layer)
    chosen = layer if active is None else active
    for present in viewer.layers:
        if present.unique_id == chosen.unique_id:
            viewer.layers.selection.active = present


def remove_helper(viewer: Any, layer: Layer | None) -> None:
    """Remove a helper, if the user has not done so."""
    if layer is None:
        return
    for present in list(viewer.layers):
        if present.unique_id == layer.unique_id:
            viewer.layers.remove(present)
