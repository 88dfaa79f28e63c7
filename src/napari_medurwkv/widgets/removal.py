"""Notice when a panel leaves the window for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

__all__ = ["call_on_removal"]


class _Once:
    """A callback that is called once and then let go, with all that it holds."""

    def __init__(self, callback: Callable[[bool], None]) -> None:
        self._callback: Callable[[bool], None] | None = callback

    def __call__(self, alive: bool) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(alive)


class _RemovalWatch(QObject):
    """Sees its widget lose its parent, or be closed."""

    def __init__(self, widget: QWidget, once: _Once) -> None:
        super().__init__(widget)
        self._once = once
        self._housed = widget.parent() is not None
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at an event and let it pass."""
        kind = event.type()
        if kind == QEvent.Type.ParentChange:
            housed = watched.parent() is not None
            if self._housed and not housed:
                self._once(True)
            self._housed = housed
        elif kind == QEvent.Type.Close:
            self._once(True)
        return False


def call_on_removal(widget: QWidget, callback: Callable[[bool], None]) -> None:
    """Call back when a dock widget's content goes, in whichever way.

    napari's close button takes the content out of its dock and drops it, without a
    close event; closing the whole window deletes it without any event at all. Hiding a
    dock changes nothing.

    Parameters
    ----------
    widget : QWidget
        The content of the dock.
    callback : callable
        Called once at most, with whether the widget still lives; if it does not, Qt
        objects under it must not be touched.
    """
    once = _Once(callback)
    _RemovalWatch(widget, once)
    # Not a bound method: Qt would drop that connection before it deletes the widget.
    widget.destroyed.connect(lambda: once(False))
