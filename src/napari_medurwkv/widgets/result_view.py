"""What came out of a run: the mask's name over the table of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medurwkv.widgets.class_table import ClassTable
from napari_medurwkv.widgets.live_measures import LiveMeasures, Measured
from napari_medurwkv.widgets.look import WrappedLabel

if TYPE_CHECKING:
    from napari_medurwkv.measure import ClassMeasure

__all__ = ["ResultView"]


class ResultView(QWidget):
    """Shows one mask as long as it is in the viewer; follows its edits and its name.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the mask is.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._subject: Measured | None = None
        self._live = LiveMeasures(self)
        self._name = WrappedLabel()
        self.table = ClassTable()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._name)
        layout.addWidget(self.table)
        self._live.measured.connect(self.table.show_measures)
        self.hide()

    @property
    def name(self) -> str:
        """Name of the mask."""
        return str(self._name.text())

    def show_mask(self, subject: Measured, measures: tuple[ClassMeasure, ...]) -> None:
        """Show a finished mask.

        Parameters
        ----------
        subject : Measured
            The mask, which is watched from now on.
        measures : tuple of ClassMeasure
            What was measured of it so far.
        """
        self.clear()
        self._subject = subject
        self._rename()
        subject.layer.events.name.connect(self._rename)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self.table.show_measures(measures)
        self._live.watch(subject)
        self.show()

    def clear(self) -> None:
        """Show nothing, and watch nothing."""
        self._live.stop()
        self.hide()
        if self._subject is not None:
            self._subject.layer.events.name.disconnect(self._rename)
            self._viewer.layers.events.removed.disconnect(self._on_removed)
            self._subject = None

    def abandon(self) -> None:
        """Forget about a count under way."""
        self._live.abandon()

    def _rename(self, event: Any = None) -> None:
        if self._subject is not None:
            self._name.setText(self._subject.layer.name)

    def _on_removed(self, event: Any) -> None:
        subject = self._subject
        if subject is not None and event.value.unique_id == subject.layer.unique_id:
            self.clear()
