"""One living engine process, as its parent sees it."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from napari_medurwkv.inference.engine_protocol import (
    Message,
    read_message,
    write_message,
)
from napari_medurwkv.inference.threads import patient_threads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import IO

__all__ = ["EngineEndedError", "EngineProcess", "default_command"]

WAKE: Message = {"say": "wake"}
# On Windows a console program would open a console.
_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)


class EngineEndedError(Exception):
    """The child process is gone."""


def default_command() -> tuple[str, ...]:
    """Command that starts the engine.

    -P keeps the folder the user works in off the import path, where a file named
    like a module of Python's own would break the start.
    """
    return (sys.executable, "-P", "-m", "napari_medurwkv.inference.serve")


class EngineProcess:
    """A started engine process with its two pipes.

    Parameters
    ----------
    command : sequence of str
        What to run; the folder is appended.
    folder : Path
        Private folder where arrays are exchanged. The child removes it when its
        parent is gone.

    Attributes
    ----------
    ready : bool
        Whether the child has said that it has loaded everything.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.ready = False
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._ended = False
        self._stderr: deque[str] = deque(maxlen=200)
        self._writing = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [*command, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ
            | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
            | patient_threads(os.environ),
            encoding="utf-8",
            errors="replace",
            creationflags=_NO_WINDOW,
        )
        self._readers = [
            threading.Thread(target=target, args=(stream,), daemon=True)
            for target, stream in (
                (self._read_messages, self._process.stdout),
                (self._read_stderr, self._process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Process number of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child still runs and speaks."""
        return not self._ended and self._process.poll() is None

    def send(self, message: Message) -> None:
        """Send a message; a child that has just died says so through its inbox."""
        stdin = self._process.stdin
        if stdin is None:
            return
        with self._writing, contextlib.suppress(BrokenPipeError, ValueError, OSError):
            write_message(stdin, message)

    def receive(self, timeout: float | None = None) -> Message:
        """Wait for the next message, or for `wake`.

        Raises
        ------
        TimeoutError
            If nothing came in time.
        EngineEndedError
            If the child is gone.
        """
        try:
            message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        if message is None:
            self._inbox.put(None)  # whoever asks next must learn it too
            raise EngineEndedError
        return message

    def wake(self) -> None:
        """Have `receive` return at once, with a message that says nothing."""
        self._inbox.put(WAKE)

    def wait(self) -> int:
        """Wait for the end of a child that has stopped speaking; its exit code."""
        try:
            code = self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=1.0)
        return code

    def last_words(self) -> str:
        """Give the last lines that the child wrote to its error stream."""
        return "".join(self._stderr)

    def kill(self) -> None:
        """End the child at once and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        with self._writing, contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _read_messages(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._inbox.put(read_message(line))
        self._ended = True
        self._inbox.put(None)

    def _read_stderr(self, stream: IO[str]) -> None:
        with stream:
            self._stderr.extend(stream)
