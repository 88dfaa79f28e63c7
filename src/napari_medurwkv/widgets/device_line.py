"""The line that says where the network will run, as the engine itself reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.look import RED, WrappedLabel, set_tone

if TYPE_CHECKING:
    from napari_medurwkv.inference.client import DeviceReport
    from napari_medurwkv.widgets.shared_engine import Engine

__all__ = ["DeviceLine"]


class DeviceLine(QWidget):
    """Asks the engine in a thread, and never claims what it has not heard."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._label = WrappedLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label)
        self._task: BackgroundTask | None = None

    @property
    def text(self) -> str:
        """What the line says."""
        return str(self._label.text())

    @property
    def checking(self) -> bool:
        """Whether the answer is still to come."""
        return self._task is not None

    def ask(self, engine: Engine, device: str) -> None:
        """Start asking; the first time starts the engine, which takes seconds.

        Parameters
        ----------
        engine : Engine
            Whom to ask.
        device : str
            "auto", or the device that the user chose.
        """
        self.abandon()
        set_tone(self._label, None)
        self._label.setText("Device: checking…")
        self._label.setToolTip("")
        self._task = in_background(lambda: engine.device_report(device), self._hear)

    def abandon(self) -> None:
        """Forget about the answer."""
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _hear(self, outcome: Outcome[DeviceReport]) -> None:
        self._task = None
        report = outcome.value
        if report is None:
            set_tone(self._label, RED)
            self._label.setText(f"Device: {outcome.error}")
            return
        self._label.setText(f"Device: {report.description}")
        self._label.setToolTip(
            f"{report.device}, torch {report.torch}\n"
            f"RWKV operator: {report.kernels}; {report.kernels_reason}"
        )
