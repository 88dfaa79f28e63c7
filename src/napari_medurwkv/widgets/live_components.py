"""The number of islands per class, counted again in a thread while one paints."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medurwkv.correction.component_counts import (
    Parts,
    count_components,
    find_parts,
    mismatched,
)
from napari_medurwkv.correction.watch import Watch
from napari_medurwkv.errors import CancelledError
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background

if TYPE_CHECKING:
    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.correction.mask import EditableMask

__all__ = ["LiveComponents"]

_PAUSE_MS = 250

Found = tuple[dict[int, Parts], dict[int, int] | None, set[int]]


class LiveComponents(QObject):
    """Counts the islands of a mask, and after edits those of the planes they changed.

    Parameters
    ----------
    mask : EditableMask
        Whose `changed` says where.
    """

    counted = Signal()
    """The numbers are new; at most four times a second."""

    def __init__(self, mask: EditableMask, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._mask = mask
        self._shape = tuple(mask.array.shape)
        self._parts: dict[int, Parts] | None = None
        self._numbers: dict[int, int] | None = None
        self._stale: set[int] = set()
        self._task: BackgroundTask | None = None
        self._stop = threading.Event()
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._begin)
        mask.changed.connect(self._on_changed)

    @property
    def exact(self) -> bool:
        """Whether the numbers are those of the mask as it is now."""
        return self._numbers is not None and not self._stale and self._task is None

    def number(self, value: int) -> int | None:
        """Return how many islands a class has; None before they are counted."""
        return None if self._numbers is None else self._numbers.get(value, 0)

    def start(self) -> None:
        """Begin to count."""
        if self._parts is None and self._task is None:
            self._begin()

    def close(self) -> None:
        """Stop."""
        self._pause.stop()
        self._mask.changed.disconnect(self._on_changed)
        self._drop()

    def _drop(self) -> None:
        if self._task is not None:
            self._stop.set()
            self._task.abandon()
            self._task = None

    def _on_changed(self, box: Box | None) -> None:
        if box is None:
            return
        shape = tuple(self._mask.array.shape)
        if shape != self._shape:  # other data: from the beginning
            self._drop()
            self._shape, self._parts, self._numbers = shape, None, None
            self._stale.clear()
        elif len(shape) == 3:
            self._stale.update(range(box[0].start, box[0].stop))
        else:
            self._stale.add(0)
        if not self._pause.isActive():
            self._pause.start()

    def _begin(self) -> None:
        if self._task is not None:
            self._pause.start()
            return
        array, known = self._mask.array, self._parts
        stale, self._stale = self._stale, set()
        self._stop = stop = threading.Event()

        def work() -> Found:
            parts = find_parts(array, known, stale, Watch(None, stop.is_set))
            odd = mismatched(parts)
            return parts, None if odd else count_components(parts), odd

        def done(outcome: Outcome[Found]) -> None:
            self._task = None
            if outcome.value is None:
                self._stale |= stale
                if outcome.error and not isinstance(outcome.error, CancelledError):
                    raise outcome.error
                return
            # What was edited meanwhile is stale again, and will be looked at again.
            self._parts, numbers, odd = outcome.value
            self._stale |= odd
            if numbers is None:
                self._pause.start()
                return
            self._numbers = numbers
            self.counted.emit()

        self._task = in_background(work, done)

    def slices_with_islands(self) -> list[int] | None:
        """Return the planes on which a class falls apart; None before it is known."""
        if self._parts is None or not self.exact:
            return None
        return [k for k, part in sorted(self._parts.items()) if _falls_apart(part)]


def _falls_apart(part: Parts) -> Any:
    return len(set(part.values.tolist())) < len(part.values)
