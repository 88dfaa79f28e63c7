"""The line that says where the network will run, as the engine itself reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.look import RED, set_tone, wrapped_label

if TYPE_CHECKING:
    from napari_medurwkv.inference.client import DeviceReport
    from napari_medurwkv.widgets.shared_engine import Engine

__all__ = ["DeviceLine"]

_NAMES = {"cpu": "CPU", "cuda": "CUDA GPU", "mps": "Apple GPU"}


class DeviceLine(QWidget):
    """Asks the engine once, in a thread, and never claims what it has not heard."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._label = wrapped_label("Device: checking…")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label)
        self._report: DeviceReport | None = None
        self._error: Exception | None = None
        self._requested = "auto"
        self._task: BackgroundTask | None = None

    @property
    def text(self) -> str:
        """What the line says."""
        return str(self._label.text())

    def ask(self, engine: Engine) -> None:
        """Start asking; the first time starts the engine, which takes seconds."""
        self._task = in_background(engine.device_report, self._hear)

    def abandon(self) -> None:
        """Forget about the answer."""
        if self._task is not None:
            self._task.abandon()

    def show_requested(self, device: str) -> None:
        """Say what holds now that the user asked for "auto" or a certain device."""
        self._requested = device
        self._update()

    def _hear(self, outcome: Outcome[DeviceReport]) -> None:
        self._report, self._error = outcome.value, outcome.error
        self._update()

    def _update(self) -> None:
        set_tone(self._label, None)
        self._label.setToolTip("")
        if self._requested != "auto":
            name = _NAMES.get(self._requested, self._requested)
            text = f"Device: {name}, as chosen; the run says so if it cannot be used"
        elif self._error is not None:
            set_tone(self._label, RED)
            text = f"Device: unknown. {self._error}"
        elif self._report is None:
            text = "Device: checking…"
        else:
            text = f"Device: {self._report.description}"
            self._label.setToolTip(
                f"{self._report.device}, torch {self._report.torch}\n"
                f"RWKV operator: {self._report.kernels}"
            )
        self._label.setText(text)
