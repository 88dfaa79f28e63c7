"""The plugin's dock widget: its panels as tabs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from napari_medurwkv.widgets.export_panel import ExportPanel
from napari_medurwkv.widgets.removal import call_on_removal
from napari_medurwkv.widgets.segment_panel import SegmentPanel

if TYPE_CHECKING:
    import napari.viewer

    from napari_medurwkv.widgets.shared_engine import Engine

__all__ = ["MedurwkvWidget"]


class MedurwkvWidget(QWidget):
    """Segment and Export in one dock.

    A further panel is a further row of `_panels`; it has to have `shut_down`.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers the panels work on.
    engine : Engine, optional
        Does the work; the shared one by default.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, engine: Engine | None = None
    ) -> None:
        super().__init__()
        self.segment = SegmentPanel(viewer, engine)
        self.export = ExportPanel(viewer)
        self._panels = (("Segment", self.segment), ("Export", self.export))
        self._tabs = QTabWidget()
        for title, panel in self._panels:
            self._tabs.addTab(panel, title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._tabs)
        call_on_removal(self, self.shut_down)

    def show_panel(self, panel: QWidget) -> None:
        """Bring the tab of a panel to the front."""
        self._tabs.setCurrentWidget(panel)

    def shut_down(self, alive: bool = True) -> None:
        """Stop everything: the dock goes.

        Parameters
        ----------
        alive : bool
            Whether the widgets still live.
        """
        for _, panel in self._panels:
            panel.shut_down(alive)
