"""The threshold brush: strokes keep to a range of the image's intensities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.correction.paint_range import in_range, suggest_range
from napari_medurwkv.errors import CorrectionError
from napari_medurwkv.widgets.helper_layers import add_helper, remove_helper
from napari_medurwkv.widgets.layer_picker import LayerPicker
from napari_medurwkv.widgets.result_layer import spatial_state

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.widgets.correction_session import CorrectionSession
    from napari_medurwkv.widgets.slice_navigator import SliceNavigator

__all__ = ["RangeBrush"]


class RangeBrush(QWidget):
    """Switch, range and picture of the threshold brush.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the range is shown.
    navigator : SliceNavigator
        Knows which slice is on screen.
    """

    told = Signal(str)

    def __init__(
        self, viewer: Any, navigator: SliceNavigator, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._navigator = navigator
        self._session: CorrectionSession | None = None
        self._layer: Labels | None = None
        self._data: NDArray[np.uint8] | None = None
        self._shown: Box | None = None
        self.switch = QCheckBox("Paint only where the image is in range")
        self.switch.setToolTip("Strokes and erasing change nothing elsewhere (Shift+Q)")
        self.image = LayerPicker(viewer, Image, "image")
        self.low, self.high = QDoubleSpinBox(), QDoubleSpinBox()
        for spin, word in ((self.low, "from "), (self.high, "to ")):
            spin.setPrefix(word)
            spin.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
            # Its own width would be that of a billion, and widen the panel.
            spin.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            spin.setMinimumWidth(80)
            spin.setRange(-1e9, 1e9)
            spin.setDecimals(2)
            spin.valueChanged.connect(self._change)
        self.take = QPushButton("From selected class")
        self.take.setToolTip("Take the range from the image under the selected class")
        row = QHBoxLayout()
        for part in (self.low, self.high):
            row.addWidget(part, 1)
        row.addWidget(self.take)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.switch)
        column.addWidget(self.image)
        column.addLayout(row)
        self.switch.toggled.connect(self._change)
        self.image.layer_changed.connect(self._change)
        self.take.clicked.connect(self.take_range)
        viewer.dims.events.current_step.connect(self._show)

    @property
    def on(self) -> bool:
        """Whether strokes are limited."""
        return bool(self.switch.isChecked())

    def use(self, session: CorrectionSession | None) -> None:
        """Work on another mask; the brush is unlimited at first."""
        self.switch.setChecked(False)
        self._change()
        self._session = session

    def toggle(self) -> None:
        """Limit the strokes, or no more."""
        self.switch.setChecked(not self.on)

    def take_range(self) -> None:
        """Take the range from where the selected class is on this slice."""
        session, image = self._session, self._image()
        if session is None or image is None:
            self.told.emit("Choose the image, on the grid of the mask, first.")
            return
        box = self._slice_box(session)
        chosen = np.asarray(session.mask.array[box]) == session.layer.selected_label
        try:
            low, high = suggest_range(np.asarray(image[box])[chosen])
        except CorrectionError:
            self.told.emit(
                "The selected class is not on this slice; choose one that is."
            )
            return
        self.low.setValue(low)
        self.high.setValue(high)

    def shut_down(self, alive: bool = True) -> None:
        """Stop listening: the panel goes."""
        if alive:
            self.use(None)
            self._viewer.dims.events.current_step.disconnect(self._show)
            self.image.disconnect_viewer()

    def _image(self) -> Any:
        layer, session = self.image.layer, self._session
        if layer is None or session is None or getattr(layer, "rgb", False):
            return None
        data = layer.data[0] if layer.multiscale else layer.data
        same = tuple(data.shape) == tuple(session.mask.array.shape)
        return data if same else None

    def _slice_box(self, session: CorrectionSession) -> Box:
        shape = session.mask.array.shape
        if len(shape) == 2:
            return tuple(slice(0, n) for n in shape)
        axis, index = self._navigator.axis, self._navigator.index
        return tuple(
            slice(index, index + 1) if k == axis else slice(0, n)
            for k, n in enumerate(shape)
        )

    def _change(self, *_: Any) -> None:
        session = self._session
        if session is None or not session.open:
            self._hide()
            return
        image = self._image()
        if self.on and image is None:
            self.switch.setChecked(False)
            self.told.emit("The threshold brush needs a grey image on the mask's grid.")
            return
        if not self.on:
            session.binding.brush_rule = None
            self._hide()
            return
        low, high = self.low.value(), self.high.value()
        session.binding.brush_rule = lambda box: (
            ~in_range(np.asarray(image[box]), low, high)
        )
        self._show()

    def _show(self, event: Any = None) -> None:
        session, image = self._session, self._image()
        if not self.on or session is None or image is None:
            return
        if self._data is None or self._layer is None:
            # Memory is taken only on slices that are looked at.
            self._data = np.zeros(session.mask.array.shape, np.uint8)
            colors: dict[int | None, Any] = {
                None: (0, 0, 0, 0),
                0: (0, 0, 0, 0),
                1: "#ffe14d",
            }
            self._layer = Labels(
                self._data,
                name="Range of the brush",
                opacity=0.25,
                colormap=DirectLabelColormap(color_dict=colors),
                **spatial_state(session.layer),
            )
            self._layer.editable = False
            add_helper(self._viewer, self._layer, session.layer)
        if self._shown is not None:
            self._data[self._shown] = 0
        box = self._slice_box(session)
        inside = in_range(np.asarray(image[box]), self.low.value(), self.high.value())
        self._data[box] = inside
        self._shown = box
        self._layer.refresh(extent=False, highlight=False, thumbnail=False)

    def _hide(self) -> None:
        layer, self._layer, self._data = self._layer, None, None
        self._shown = None
        remove_helper(self._viewer, layer)
