"""Notice when a panel leaves the window for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

__all__ = ["call_on_removal"]


class _RemovalWatch(QObject):
    """Calls back once, when its widget loses its parent or is closed."""

    def __init__(self, widget: QWidget, callback: Callable[[], None]) -> None:
        super().__init__(widget)
        self._callback: Callable[[], None] | None = callback
        self._housed = widget.parent() is not None
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind == QEvent.Type.ParentChange:
            housed = watched.parent() is not None
            gone = self._housed and not housed
            self._housed = housed
        else:
            gone = kind == QEvent.Type.Close
        if gone and self._callback is not None:
            callback, self._callback = self._callback, None
            callback()
        return False


def call_on_removal(widget: QWidget, callback: Callable[[], None]) -> None:
    """Call back when a dock widget's content is taken out of its dock or closed.

    napari's close button takes the content out and drops it, without a close event;
    hiding a dock changes nothing.

    Parameters
    ----------
    widget : QWidget
        The content of the dock.
    callback : callable
        Called once at most.
    """
    _RemovalWatch(widget, callback)
