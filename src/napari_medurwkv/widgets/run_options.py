"""The choices of a run: device, overlap, views, what to keep, and separate objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QWidget

from napari_medurwkv.inference.further import Further
from napari_medurwkv.inference.view_names import VIEWS, view_axes, view_names
from napari_medurwkv.widgets.look import let_shrink

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import ModelCard
    from napari_medurwkv.widgets.settings import Preferences

__all__ = ["RunOptions"]

_DEVICES = (
    ("automatic", "auto"),
    ("CPU", "cpu"),
    ("NVIDIA or AMD GPU", "cuda"),
    ("Apple GPU", "mps"),
)
_OVERLAPS = (0.25, 0.5, 0.75)


class RunOptions(QWidget):
    """Device and overlap, which the panel folds away, and `separate`, which it shows.

    Parameters
    ----------
    preferences : Preferences
        What is chosen at the start.

    Attributes
    ----------
    separate : QCheckBox
        Whether objects are to be numbered; hidden where the model cannot do it.
    """

    device_changed = Signal(str)
    changed = Signal()

    def __init__(self, preferences: Preferences, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._device = QComboBox()
        for title, name in _DEVICES:
            self._device.addItem(title, name)
        self._device.setCurrentIndex(self._device.findData(preferences.device))
        self._device.setToolTip("Where the network runs")
        self._overlap = QComboBox()
        self._overlap.addItem("by the card", None)
        for value in _OVERLAPS:
            self._overlap.addItem(f"{value:.0%}", value)
        self._overlap.setCurrentIndex(self._overlap.findData(preferences.overlap))
        self._overlap.setToolTip(
            "How much neighbouring windows share: more is smoother and slower"
        )
        for combo in (self._device, self._overlap):
            let_shrink(combo)
        self.separate = QCheckBox("Separate touching objects")
        self.separate.setToolTip(
            "Number every object instead of marking one class for all"
        )
        self.views = QComboBox()
        self.views.setToolTip(
            "How the volume is cut into slices for the model; three ways take about "
            "three times as long"
        )
        let_shrink(self.views)
        self.mirror = QCheckBox("Average mirror images")
        self.mirror.setToolTip("Steadier, and four times slower")
        self.keep = QCheckBox("Keep probabilities")
        self.keep.setToolTip(
            "Afterwards, threshold and class weights can be changed without running "
            "the model again; takes one byte of disk per class and voxel"
        )
        self.doubt = QCheckBox("Show uncertainty")
        self.doubt.setToolTip(
            "Add a layer that shows where the model is unsure; the Correct panel then "
            "finds those slices"
        )
        self._rows = rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Device", self._device)
        rows.addRow("Overlap", self._overlap)
        rows.addRow("Views", self.views)
        for box in (self.mirror, self.keep, self.doubt):
            rows.addRow(box)
        self.separate.hide()
        self._device.currentIndexChanged.connect(
            lambda: self.device_changed.emit(self.device)
        )
        for combo in (self._device, self._overlap, self.views):
            combo.currentIndexChanged.connect(lambda: self.changed.emit())
        for box in (self.separate, self.mirror):
            box.toggled.connect(lambda: self.changed.emit())
        self._show_views(None)

    @property
    def device(self) -> str:
        """Name that the engine knows."""
        return str(self._device.currentData())

    @property
    def overlap(self) -> float | None:
        """Of neighbouring windows; None takes the card's."""
        value: float | None = self._overlap.currentData()
        return value

    @property
    def instances(self) -> bool:
        """Whether objects are to be numbered."""
        return not self.separate.isHidden() and self.separate.isChecked()

    @property
    def further(self) -> Further:
        """Views, mirror images, and what is to be kept."""
        views: tuple[str, ...] | None = self.views.currentData()
        return Further(
            tta=self.mirror.isChecked(),
            views=views,
            keep_probabilities=self.keep.isChecked(),
            uncertainty=self.doubt.isChecked(),
        )

    def set_instances(self, separate: bool) -> None:
        """Choose whether objects are to be numbered, where the model can."""
        self.separate.setChecked(separate)

    def show_card(self, card: ModelCard | None) -> None:
        """Offer what this model can do."""
        can = card is not None and card.instances is not None
        self.separate.setVisible(can)
        self._show_views(card)
        segments = card is None or card.task == "segmentation"
        for box in (self.mirror, self.keep, self.doubt):
            box.setVisible(segments)
        if card is not None:
            self._overlap.setItemText(0, f"{card.overlap:.0%}, by the card")

    def _show_views(self, card: ModelCard | None) -> None:
        """Offer the views of a volume; pictures have one."""
        there = card is not None and card.slice_axis is not None
        self._rows.setRowVisible(self.views, there)
        chosen = self.views.currentData()
        self.views.blockSignals(True)
        self.views.clear()
        if card is None or card.slice_axis is None:
            self.views.addItem("by the card", None)
        else:
            own = ", ".join(view_names(sorted(view_axes(None, card))))
            self.views.addItem(f"{own}, by the card", None)
            single = (VIEWS[card.slice_axis],)
            if len(card.views) > 1:
                self.views.addItem(f"{single[0]} only", single)
            if len(card.views) < len(VIEWS):
                self.views.addItem("all three, averaged", VIEWS)
        self.views.setCurrentIndex(max(0, self.views.findData(chosen)))
        self.views.blockSignals(False)
