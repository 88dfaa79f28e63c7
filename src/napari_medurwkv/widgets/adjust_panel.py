"""Sliders that decide a mask again: threshold, class weights, temperature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.inference.redecide import Settings
from napari_medurwkv.widgets.adjuster import Adjuster
from napari_medurwkv.widgets.foldout import Foldout
from napari_medurwkv.widgets.look import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medurwkv.widgets.kept_mask import KeptMask

__all__ = ["AdjustPanel", "NumberSlider"]

_STEPS = 200
_LARGEST_WEIGHT = 10.0
_LARGEST_TEMPERATURE = 4.0


class NumberSlider(QWidget):
    """A slider for a number, which it shows.

    Parameters
    ----------
    low, high : float
        Ends of the slider.
    start : float
        Where it stands at first.
    text : callable
        Writes the number.
    by_ratio : bool
        Whether equal ways are equal ratios instead of equal differences.
    """

    moved = Signal(float)

    def __init__(
        self,
        low: float,
        high: float,
        start: float,
        text: Callable[[float], str],
        *,
        by_ratio: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._low, self._high = low, high
        self._by_ratio = by_ratio
        self._write = text
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self._label = QLabel()
        self._label.setFixedWidth(84)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.slider, 1)
        row.addWidget(self._label)
        self.show_value(start)
        self.slider.valueChanged.connect(self._on_moved)

    @property
    def value(self) -> float:
        """The number it stands at."""
        part = self.slider.value() / _STEPS
        if self._by_ratio:
            return float(self._low * (self._high / self._low) ** part)
        return float(self._low + (self._high - self._low) * part)

    @property
    def text(self) -> str:
        """What it shows."""
        return str(self._label.text())

    def show_value(self, value: float, text: str | None = None) -> None:
        """Stand at a number without telling.

        Parameters
        ----------
        value : float
            The number.
        text : str, optional
            To be shown in its place, until the slider is moved.
        """
        if self._by_ratio:
            part = math.log(value / self._low) / math.log(self._high / self._low)
        else:
            part = (value - self._low) / (self._high - self._low)
        self.slider.blockSignals(True)
        self.slider.setValue(round(part * _STEPS))
        self.slider.blockSignals(False)
        self._label.setText(self._write(value) if text is None else text)

    def _on_moved(self) -> None:
        self._label.setText(self._write(self.value))
        self.moved.emit(self.value)


class AdjustPanel(QWidget):
    """A fold-out under the result: moving its sliders decides the mask again.

    It is there where the run kept its probabilities, and goes with the mask.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the mask is.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.adjuster = Adjuster(viewer, parent=self)
        self._threshold: float | None = None
        self._weights: dict[int, float] = {}
        self._temperature = 1.0
        self.threshold = NumberSlider(0.01, 0.99, 0.5, "{:.2f}".format)
        self.threshold.setToolTip(
            "Foreground is where its probability exceeds this. At first the model's "
            "own rule holds."
        )
        self.temperature = NumberSlider(
            1 / _LARGEST_TEMPERATURE,
            _LARGEST_TEMPERATURE,
            1.0,
            "{:.2f}".format,
            by_ratio=True,
        )
        self.temperature.setToolTip(
            "Above 1, the model counts as less sure of itself. It matters together "
            "with threshold and weights; alone, the most probable class stays the same."
        )
        self.weights: dict[int, NumberSlider] = {}
        self.reset = QPushButton("As the model says")
        self.reset.setToolTip("Put all sliders back")
        self._told = WrappedLabel()
        self._told.hide()
        content = QWidget()
        self._form = QFormLayout(content)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(
            QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow
        )
        self._form.addRow("Threshold", self.threshold)
        self._form.addRow("Temperature", self.temperature)
        self._form.addRow(self.reset)
        self._form.addRow(self._told)
        self.foldout = Foldout("Adjust", content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.foldout)
        self.threshold.moved.connect(self._on_threshold)
        self.temperature.moved.connect(self._on_temperature)
        self.reset.clicked.connect(self.put_back)
        self.adjuster.told.connect(self._tell)
        self.adjuster.settings_found.connect(self._show_settings)
        self.foldout.folded.connect(self._on_folded)
        self.hide()

    @property
    def message(self) -> str:
        """What is said under the sliders."""
        return str(self._told.text())

    def use(self, kept: KeptMask | None) -> None:
        """Take another mask, or none."""
        if self.adjuster.kept is not None:
            self._viewer.layers.events.removed.disconnect(self._on_removed)
        self.adjuster.use(kept)
        self._tell("")
        for slider in self.weights.values():
            self._form.removeRow(slider)
        self.weights.clear()
        self.setVisible(kept is not None)
        if kept is None:
            self.foldout.unfold(False)
            return
        names = {
            info["value"]: info["name"]
            for info in kept.layer.metadata["medurwkv"]["classes"]
        }
        for row, value in enumerate((v for v in kept.rule.values if v), start=1):
            slider = NumberSlider(
                1 / _LARGEST_WEIGHT,
                _LARGEST_WEIGHT,
                1.0,
                "× {:.2f}".format,
                by_ratio=True,
            )
            slider.setToolTip("Above 1, more voxels become this class")
            slider.moved.connect(lambda weight, v=value: self._on_weight(v, weight))
            self.weights[value] = slider
            self._form.insertRow(row, names.get(value, f"label {value}"), slider)
        self._show_settings(Settings())
        self._viewer.layers.events.removed.connect(self._on_removed)
        if self.foldout.unfolded:
            self.adjuster.open()

    def put_back(self) -> None:
        """Bring the mask to what the model says."""
        self._show_settings(Settings())
        self._change()

    def abandon(self) -> None:
        """Stop working: the window goes."""
        kept = self.adjuster.kept
        self.adjuster.forget()
        if kept is not None:
            kept.probabilities.close()

    # ------------------------------------------------------------------ details

    def _on_threshold(self, value: float) -> None:
        self._threshold = value
        self._change()

    def _on_temperature(self, value: float) -> None:
        self._temperature = value
        self._change()

    def _on_weight(self, value: int, weight: float) -> None:
        self._weights[value] = weight
        self._change()

    def _change(self) -> None:
        settings = Settings(self._threshold, dict(self._weights), self._temperature)
        self.adjuster.change(settings)

    def _show_settings(self, settings: Settings) -> None:
        self._threshold = settings.threshold
        self._weights = dict(settings.weights)
        self._temperature = settings.temperature
        if settings.threshold is None:
            self._show_own_rule()
        else:
            self.threshold.show_value(settings.threshold)
        self.temperature.show_value(settings.temperature)
        for value, slider in self.weights.items():
            slider.show_value(settings.weights.get(value, 1.0))

    def _show_own_rule(self) -> None:
        kept = self.adjuster.kept
        if kept is None or kept.rule.activation == "sigmoid":
            self.threshold.show_value(0.5 if kept is None else kept.rule.threshold)
        elif len(kept.rule.values) == 2:
            self.threshold.show_value(0.5)
        else:
            self.threshold.show_value(0.5, "most likely")

    def _on_folded(self, unfolded: bool) -> None:
        if unfolded:
            self.adjuster.open()

    def _on_removed(self, event: Any) -> None:
        kept = self.adjuster.kept
        if kept is not None and event.value.unique_id == kept.layer.unique_id:
            self.use(None)

    def _tell(self, text: str) -> None:
        self._told.setText(text)
        self._told.setVisible(bool(text))
