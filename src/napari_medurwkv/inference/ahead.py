"""An iterator whose next items are made by a thread while the last one is in use."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Ahead"]

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """Runs an iterator in a thread, a few items ahead.

    Parameters
    ----------
    items : iterable
        What to go through; its errors are raised where the items are taken.
    depth : int
        How many items may wait.
    """

    def __init__(self, items: Iterable[Item], depth: int = 4) -> None:
        self._queue: queue.Queue[tuple[Item | None, BaseException | None]]
        self._queue = queue.Queue(depth)
        self._items = items
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while True:
            item, error = self._queue.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    def close(self) -> None:
        """Stop the thread and wait until it is done with its item."""
        self._stop.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.01)
        self._thread.join()

    def _work(self) -> None:
        try:
            for item in self._items:
                self._queue.put((item, None))
                if self._stop.is_set():
                    return
        except BaseException as error:
            # Not swallowed: whoever takes the items gets it.
            self._queue.put((None, error))
        else:
            self._queue.put((None, StopIteration()))
