"""What goes where: results to stdout, sentences and progress to stderr."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.table import Table

    from napari_medurwkv.inference import Progress

__all__ = [
    "CANCELLED",
    "USER_ERROR",
    "add_row",
    "cancel_on_interrupt",
    "only_results_on_stdout",
    "progress_bar",
    "say",
    "show_json",
    "show_table",
]

USER_ERROR = 1
CANCELLED = 130


def say(sentence: str) -> None:
    """Write a sentence to stderr."""
    print(sentence, file=sys.stderr)


def add_row(table: Table, *cells: str) -> None:
    """Add a row of plain texts, in which brackets mean nothing."""
    table.add_row(*(Text(cell) for cell in cells))


def show_table(table: Table) -> None:
    """Write a table to stdout."""
    Console(file=sys.stdout).print(table)


def show_json(document: Any) -> None:
    """Write the one JSON document of a command to stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


@contextlib.contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send what libraries print to stderr meanwhile, so that stdout can be parsed."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def cancel_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl+C ask for cancellation; a second one interrupts at once.

    Yields
    ------
    callable
        For `segment`: says whether the run shall stop.
    """
    asked = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say("Stopping after this window; Ctrl+C once more stops at once.")

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar on stderr, if that is a terminal.

    Yields
    ------
    callable
        For `segment`: takes its progress.
    """
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with bars:
        task = bars.add_task(title, total=None)

        def tell(progress: Progress) -> None:
            bars.update(task, completed=progress.done, total=progress.total)

        yield tell
