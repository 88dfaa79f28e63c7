"""The one big button: Segment, then Cancel with percentage and remaining time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QPushButton, QSizePolicy

from napari_medurwkv.widgets.look import GREEN

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent
    from qtpy.QtWidgets import QWidget

__all__ = ["RunButton", "remaining_time"]

_COARSE_S = 60
_STEP_S = 10


def remaining_time(fraction: float, seconds: float) -> str:
    """Say how long a job still takes if it goes on as it went.

    Parameters
    ----------
    fraction : float
        Part that is done.
    seconds : float
        Time that it took.

    Returns
    -------
    str
        Such as "0:12" or "1:02:45"; "" while nothing is done. Above a minute in steps
        of ten seconds.
    """
    if fraction <= 0:
        return ""
    left = round(seconds * (1 - fraction) / fraction)
    if left > _COARSE_S:
        # An estimate: seconds would be untrue, and each change repaints the window.
        left = -(-left // _STEP_S) * _STEP_S
    minutes, second = divmod(left, 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minute:02d}:{second:02d}"
    return f"{minute}:{second:02d}"


class RunButton(QPushButton):
    """Starts a run, shows how far it is, and cancels it."""

    segment_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._running = False
        self._verb = "Segment"
        self._fraction = 0.0
        font = self.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.25)
        self.setFont(font)
        self.setMinimumHeight(44)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.clicked.connect(self._click)
        self.show_idle()

    @property
    def running(self) -> bool:
        """Whether the button would cancel."""
        return self._running

    @property
    def fraction(self) -> float:
        """Part of the run that is shown as done."""
        return self._fraction

    def show_idle(self) -> None:
        """Offer to begin."""
        self._show(self._verb, running=False, fraction=0.0)
        self.setToolTip(f"{self._verb} the chosen image with the chosen model")

    def offer(self, verb: str) -> None:
        """Say what the button begins, such as "Segment"."""
        self._verb = verb
        if not self._running:
            self.show_idle()

    def show_starting(self) -> None:
        """Show that a run has begun and nothing is computed yet."""
        self._show("Cancel  –  starting…", running=True, fraction=0.0)
        self.setToolTip("Stop; what is finished can be kept")

    def show_progress(self, fraction: float, seconds: float) -> None:
        """Show how far the run is.

        Parameters
        ----------
        fraction : float
            Part that is done.
        seconds : float
            Time that it took.
        """
        left = remaining_time(fraction, seconds)
        text = f"Cancel   {fraction:.0%}" + (f"   {left} left" if left else "")
        self._show(text, running=True, fraction=fraction)

    def show_cancelling(self) -> None:
        """Show that the run has been asked to stop."""
        self._show("Cancelling…", running=True, fraction=self._fraction)
        self.setEnabled(False)

    def _show(self, text: str, *, running: bool, fraction: float) -> None:
        self._running = running
        # Every repaint makes Qt compose the whole window again, canvas included, so
        # there is one only where there is something new to see.
        moved = round(fraction * self.width()) != round(self._fraction * self.width())
        if text == self.text() and not moved:
            return
        self._fraction = fraction
        self.setText(text)
        self.update()

    def _click(self) -> None:
        (self.cancel_clicked if self._running else self.segment_clicked).emit()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the button, over it the finished part, and the text over that."""
        super().paintEvent(event)
        if self._fraction <= 0:
            return
        color = QColor(GREEN)
        color.setAlpha(90)
        painter = QPainter(self)
        done = self.rect()
        done.setWidth(round(done.width() * min(self._fraction, 1.0)))
        painter.fillRect(done, color)
        painter.setPen(self.palette().buttonText().color())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self.text())
        painter.end()
