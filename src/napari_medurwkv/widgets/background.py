"""Work off the GUI thread, with outcomes instead of exceptions.

Short tasks get a plain thread. napari's workers replace Python's warning hook while
they run, and two that overlap can leave it broken, so only the one long job, the
segmentation, is a napari worker: napari then knows of it and asks before it closes.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from napari.qt.threading import FunctionWorker, create_worker
from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BackgroundTask", "Outcome", "in_background", "in_napari_worker"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What came of a task: a value, or the error that ended it."""

    value: T | None = None
    error: Exception | None = None


class BackgroundTask(QObject):
    """A function at work in another thread; it reports to the GUI thread."""

    _finished = Signal(object)
    # Nobody else need hold a task: until it has reported, it must not be collected.
    _under_way: ClassVar[set[BackgroundTask]] = set()

    def __init__(
        self,
        done: Callable[[Outcome[Any]], None],
        on_quit: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._done: Callable[[Outcome[Any]], None] | None = done
        self._on_quit = on_quit
        self._finished.connect(self._report)
        self._under_way.add(self)

    @property
    def running(self) -> bool:
        """Whether an outcome is still to come."""
        return self._done is not None

    def abandon(self) -> None:
        """Ask the work to stop and forget about its outcome."""
        self._done = None
        if self._on_quit is not None:
            self._on_quit()

    def _carry_out(self, work: Callable[[], Any]) -> None:
        # Not swallowed: whoever started the task gets the error and shows it.
        try:
            outcome = Outcome(value=work())
        except Exception as error:
            outcome = Outcome(error=error)
        # The program may have ended meanwhile, and this object with it.
        with contextlib.suppress(RuntimeError):
            self._finished.emit(outcome)

    def _report(self, outcome: Outcome[Any]) -> None:
        self._under_way.discard(self)
        done, self._done, self._on_quit = self._done, None, None
        if done is not None:
            done(outcome)


class _Job:
    """What a worker calls; its text is what napari shows when it asks to close."""

    def __init__(
        self, task: BackgroundTask, work: Callable[[], Any], description: str
    ) -> None:
        self._task = task
        self._work = work
        self._description = description

    def __call__(self) -> None:
        self._task._carry_out(self._work)

    def __str__(self) -> str:
        return self._description


class _QuittableWorker(FunctionWorker):
    """A worker whose `quit` really stops the work; napari calls it when it closes."""

    on_quit: Callable[[], None] | None = None

    def quit(self) -> None:
        """Ask the work to stop."""
        super().quit()
        if self.on_quit is not None:
            self.on_quit()


def in_background(
    work: Callable[[], T], done: Callable[[Outcome[T]], None]
) -> BackgroundTask:
    """Run a short function in a thread.

    Parameters
    ----------
    work : callable
        What to do; it must not touch widgets, nor change layers.
    done : callable
        Called in the GUI thread with the outcome.

    Returns
    -------
    BackgroundTask
        Started.
    """
    task = BackgroundTask(done)
    threading.Thread(target=task._carry_out, args=(work,), daemon=True).start()
    return task


def in_napari_worker(
    work: Callable[[], T],
    done: Callable[[Outcome[T]], None],
    *,
    description: str,
    on_quit: Callable[[], None],
) -> BackgroundTask:
    """Run a long function in a worker that napari knows of.

    Parameters
    ----------
    work, done : callable
        As for `in_background`.
    description : str
        What napari says if it is closed meanwhile, such as "Segmenting brain".
    on_quit : callable
        Makes `work` return soon; called when the task is abandoned or napari closes.

    Returns
    -------
    BackgroundTask
        Started.
    """
    task = BackgroundTask(done, on_quit)
    worker = create_worker(
        _Job(task, work, description),
        _start_thread=False,
        _worker_class=_QuittableWorker,
        _ignore_errors=True,
    )
    worker.on_quit = on_quit
    worker.start()
    return task
