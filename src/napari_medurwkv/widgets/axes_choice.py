"""Say what the axes of a layer are, which channel counts, and how many frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QWidget

from napari_medurwkv.io.axes import AxisOrder, likely_orders
from napari_medurwkv.widgets.layer_image import is_framed, usual_order
from napari_medurwkv.widgets.look import AMBER, WrappedLabel, let_shrink, set_tone

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["AxesChoice"]

_NAMES = {"T": "time", "C": "channel", "Z": "slice", "Y": "row", "X": "column"}
MOST_CHANNELS = 16
"""Of more, all together are not offered."""


class AxesChoice(QWidget):
    """Choices that a layer of three or more axes leaves open; hidden without any.

    Nothing is guessed silently: where a layer's shape speaks against the usual meaning
    of its axes, a line says so.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._axes = QComboBox()
        self._axes.setToolTip("What the axes of the layer's array are, the first first")
        self._channel = QComboBox()
        self._channel.setToolTip("Which channel, or all as the model's channels")
        self._frames = QComboBox()
        self._frames.setToolTip("Segment the frame that is shown, or one after another")
        self._frames.addItem("the one shown", False)
        self._frames.addItem("all, one after the other", True)
        self._doubt = WrappedLabel()
        set_tone(self._doubt, AMBER)
        self._rows = QFormLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        for title, box in (
            ("Axes", self._axes),
            ("Channel", self._channel),
            ("Frames", self._frames),
        ):
            let_shrink(box)
            self._rows.addRow(title, box)
        self._rows.addRow(self._doubt)
        self._shape: tuple[int, ...] = ()
        self._usual = ""
        self._key: Any = None
        self._filling = False
        self._axes.currentIndexChanged.connect(self._axes_changed)
        for box in (self._channel, self._frames):
            box.currentIndexChanged.connect(self._tell)
        self.hide()

    @property
    def order(self) -> AxisOrder | None:
        """What the axes are; None where the usual order is meant."""
        letters = self._axes.currentData()
        return None if letters is None else AxisOrder(letters)

    @property
    def channels(self) -> tuple[int, ...]:
        """Which channels are taken."""
        return tuple(self._channel.currentData() or (0,))

    @property
    def all_frames(self) -> bool:
        """Whether all frames are wanted."""
        return self._has_frames and bool(self._frames.currentData())

    @property
    def doubt(self) -> str:
        """What speaks against the chosen axes; "" if nothing does."""
        return str(self._doubt.text())

    def choose(self, letters: str, channels: tuple[int, ...] | None = None) -> None:
        """Choose axes, and channels where there are any."""
        self._axes.setCurrentIndex(self._axes.findData(letters))
        if channels is not None:
            offered = [
                tuple(self._channel.itemData(i)) for i in range(self._channel.count())
            ]
            self._channel.setCurrentIndex(offered.index(channels))

    def choose_frames(self, everything: bool) -> None:
        """Choose all frames, or the one shown."""
        self._frames.setCurrentIndex(int(everything))

    def show_layer(self, layer: Layer | None) -> None:
        """Offer what a layer leaves open; what was chosen for it stays."""
        orders: tuple[str, ...] = ()
        shape: tuple[int, ...] = ()
        if layer is not None and 2 <= layer.ndim <= 5:
            data = layer.data[0] if layer.multiscale else layer.data
            shape = tuple(int(n) for n in data.shape[: layer.ndim])
            self._usual = usual_order(layer).letters
            if is_framed(layer):
                orders = (self._usual,)
            else:
                likely = likely_orders(shape)
                orders = (self._usual, *(o for o in likely if o != self._usual))
                if getattr(layer, "rgb", False):
                    orders = tuple(o for o in orders if "C" not in o) or orders
        key = (None if layer is None else layer.unique_id, shape)
        if key == self._key:
            return
        self._key, self._shape = key, shape
        self._filling = True
        self._axes.clear()
        for letters in orders:
            words = ", ".join(_NAMES[letter] for letter in letters)
            self._axes.addItem(f"{letters}  ({words})", letters)
        self._frames.setCurrentIndex(0)
        self._fill_channels()
        self._filling = False
        self._lay_out()

    @property
    def _has_frames(self) -> bool:
        order = self.order
        time = None if order is None else order.axis("T")
        return time is not None and self._shape[time] > 1

    def _fill_channels(self) -> None:
        self._channel.clear()
        order = self.order
        position = None if order is None else order.axis("C")
        if position is None:
            return
        count = self._shape[position]
        for number in range(count):
            self._channel.addItem(f"{number + 1} of {count}", (number,))
        if 1 < count <= MOST_CHANNELS:
            self._channel.addItem(f"all {count}, in this order", tuple(range(count)))

    def _lay_out(self) -> None:
        several = self._axes.count() > 1
        channels, frames = self._channel.count() > 0, self._has_frames
        for box, visible in (
            (self._axes, several),
            (self._channel, channels),
            (self._frames, frames),
        ):
            self._rows.setRowVisible(box, visible)
        likely = likely_orders(self._shape)
        text = ""
        chosen = self._axes.currentData()
        if several and likely and chosen == self._usual and likely[0] != chosen:
            text = (
                f"The first axis has {self._shape[0]} points only: if it counts "
                f"channels, choose {likely[0]}."
            )
        self._doubt.setText(text)
        self._rows.setRowVisible(self._doubt, bool(text))
        self.setVisible(several or channels or frames)

    def _axes_changed(self) -> None:
        if self._filling:
            return
        self._filling = True
        self._fill_channels()
        self._filling = False
        self._lay_out()
        self.changed.emit()

    def _tell(self) -> None:
        if not self._filling:
            self.changed.emit()
