"""Fetch a public checkpoint in a process of its own, which may be ended at any time.

It imports the hub's client and torch, which would stop the window for seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import CancelledError, CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FetchProcess", "FetchedFile"]

# A connection that hangs does not ask whether to stop.
_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A public checkpoint that is here now.

    Attributes
    ----------
    path : Path
    verified : bool
        Whether it was compared with a published SHA-256.
    """

    path: Path
    verified: bool


class FetchProcess:
    """One download.

    Parameters
    ----------
    name : str
        Of the public checkpoint. Its licence was shown and accepted.
    offline : bool
        Use no network: only what is on this computer.
    progress : callable
        Called in the thread of `run` with the bytes that are here and the bytes in all
        (0: not known).
    """

    def __init__(
        self, name: str, *, offline: bool, progress: Callable[[int, int], None]
    ) -> None:
        self._words = [name, *(["--offline"] if offline else [])]
        self._progress = progress
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()

    def run(self) -> FetchedFile:
        """Fetch; takes as long as that takes, so it belongs into a thread.

        Raises
        ------
        CancelledError
            If `stop` was called meanwhile.
        CheckpointError
            With the sentence that says why it failed.
        """
        with subprocess.Popen(  # noqa: S603 - our own program, no shell
            [
                *(sys.executable, "-P", "-m"),
                "napari_medurwkv.checkpoints.fetch_child",
                *self._words,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        ) as process:
            self._process = process
            if self._stopped.is_set():  # before there was anything to stop
                self._end(process)
            # Read beside the replies: a full pipe would stop the process.
            errors: list[str] = []
            drain = threading.Thread(target=_drain, args=(process.stderr, errors))
            drain.start()
            last: dict[str, Any] = {}
            for line in process.stdout or ():
                last = json.loads(line)
                if "done" in last:
                    self._progress(last["done"], last["total"])
            process.wait()
            drain.join()
        if "path" in last:
            return FetchedFile(Path(last["path"]), last["verified"])
        if "error" in last and not self._stopped.is_set():
            raise CheckpointError(last["error"])
        if self._stopped.is_set():
            raise CancelledError(
                last.get("stopped")
                or "The download was stopped; the next one goes on from there."
            )
        why = errors[-1].strip() if errors else f"code {process.returncode}"
        raise CheckpointError(f"The download ended unexpectedly ({why}): try again.")

    def stop(self) -> None:
        """End the download soon; what is here stays. Comes back at once."""
        self._stopped.set()
        process = self._process
        if process is not None:
            self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        def work() -> None:
            if process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()

        threading.Thread(target=work, daemon=True).start()


def _drain(stream: Any, lines: list[str]) -> None:
    for line in stream:
        if line.strip():
            lines[:] = [line]
