"""What napari's command palette and menus can do with the panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari
from napari.layers import Image, Labels
from napari.utils.notifications import show_info

from napari_medurwkv.widgets.export_panel import ExportPanel
from napari_medurwkv.widgets.main_widget import MedurwkvWidget
from napari_medurwkv.widgets.segment_panel import SegmentPanel
from napari_medurwkv.widgets.settings import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cancel_segmentation", "save_mask", "segment_active_layer"]

_WIDGET = "Med-URWKV"


def segment_active_layer() -> None:
    """Segment the active image layer with the panel's model and options."""
    viewer = napari.current_viewer()
    active = viewer.layers.selection.active
    if not isinstance(active, Image):
        show_info("Select an image layer first.")
        return
    running = next((p for p in _segment_panels(viewer) if p.running), None)
    if running is not None:
        show_info("A segmentation is under way; cancel it first.")
        return
    panel = next(_segment_panels(viewer), None)
    if panel is None:
        panel = _open_widget(viewer).segment
    _bring_to_front(viewer, panel)
    panel.segment_layer(active)


def cancel_segmentation() -> None:
    """Cancel the segmentation under way."""
    running = [p for p in _segment_panels(napari.current_viewer()) if p.running]
    if not running:
        show_info("No segmentation is under way.")
    for panel in running:
        panel.cancel()


def save_mask() -> None:
    """Open the Export panel with the active labels layer."""
    viewer = napari.current_viewer()
    active = viewer.layers.selection.active
    if not isinstance(active, Labels):
        show_info("Select a labels layer first.")
        return
    docked = viewer.window.dock_widgets.values()
    panel = next((w for w in docked if isinstance(w, ExportPanel)), None)
    if panel is None:
        panel = _open_widget(viewer).export
        _bring_to_front(viewer, panel)
    panel.choose(active)


def _open_widget(viewer: Any) -> MedurwkvWidget:
    """Return the main widget; napari opens it if it is not open yet."""
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, _WIDGET)
    opened: MedurwkvWidget = widget
    return opened


def _segment_panels(viewer: Any) -> Iterator[SegmentPanel]:
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, SegmentPanel):
            yield widget
        elif isinstance(widget, MedurwkvWidget):
            yield widget.segment


def _bring_to_front(viewer: Any, panel: SegmentPanel | ExportPanel) -> None:
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, MedurwkvWidget) and panel in (
            widget.segment,
            widget.export,
        ):
            widget.show_panel(panel)
