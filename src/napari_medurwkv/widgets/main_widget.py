"""The plugin's dock widget: its panels as tabs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from napari_medurwkv.widgets.correct_panel import CorrectPanel
from napari_medurwkv.widgets.export_panel import ExportPanel
from napari_medurwkv.widgets.removal import call_on_removal
from napari_medurwkv.widgets.segment_panel import SegmentPanel

if TYPE_CHECKING:
    import napari.viewer

    from napari_medurwkv.widgets.shared_engine import Engine

__all__ = ["MedurwkvWidget"]


class MedurwkvWidget(QWidget):
    """Segment, Correct and Export in one dock.

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
        self.correct = CorrectPanel(viewer)
        self.correct.tools.learned.engine = engine
        self.export = ExportPanel(viewer)
        # One history of a mask, whoever changes it.
        self.segment.adjust.adjuster.open_session = self.correct.session_for
        self._panels = (
            ("Segment", self.segment),
            ("Correct", self.correct),
            ("Export", self.export),
        )
        self._tabs = QTabWidget()
        for title, panel in self._panels:
            self._tabs.addTab(panel, title)
        self.correct.recovery.found.connect(self._on_unsaved)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._tabs)
        call_on_removal(self, self.shut_down)

    def _on_unsaved(self, there: bool) -> None:
        """Say on the tab that there is work to recover."""
        index = self._tabs.indexOf(self.correct)
        self._tabs.setTabText(index, "Correct (unsaved work)" if there else "Correct")

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
