"""SHA-256 of files, computed once as long as a file stays the same."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

__all__ = ["PendingDigest", "State", "begin_digest", "file_digest", "file_state"]

# Where a file is on its device, its size and its time of change.
State = tuple[int, int, int, int]

_known: dict[tuple[Path, State], Future[str]] = {}
_guard = threading.Lock()


class PendingDigest:
    """A digest that a thread is computing, of the file as it was when that began.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    state : State
        What the file was.
    future : Future of str
        The digest.
    """

    def __init__(self, name: str, state: State, future: Future[str]) -> None:
        self._name, self._state, self._future = name, state, future

    @property
    def state(self) -> State:
        """What tells that the file is still the same."""
        return self._state

    def result(self) -> str:
        """Wait for the digest, hexadecimal.

        Raises
        ------
        CheckpointError
            The file could not be read, or changed meanwhile.
        """
        try:
            return self._future.result()
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(f"{self._name} cannot be read: {reason}.") from error

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Travel to another process as what comes out."""
        return str, (self.result(),)


def file_state(path: Path) -> State:
    """Return what tells that a file is still the same.

    Raises
    ------
    OSError
        It cannot be looked at.
    """
    return _state(path.stat())


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Parameters
    ----------
    path : Path
        Of the file.

    Raises
    ------
    OSError
        It cannot be read.
    CheckpointError
        It changed meanwhile.
    """
    with path.open("rb") as file:
        state = _state(os.fstat(file.fileno()))
        future, ours = _claim(path, state)
        if ours:
            _compute(file, path, state, future, mapped=False)
    return future.result()


def begin_digest(path: Path) -> PendingDigest:
    """Let a thread compute the SHA-256 of a file while its tensors are put in place.

    The file is opened here, so that it is the digest of this very file, whatever takes
    its name meanwhile. It is hashed in one go, mapped: beside other work in Python,
    reading piece by piece waits for that at each piece. A mapped file must not be cut
    short, so this is for files whose tensors are mapped as well.

    Parameters
    ----------
    path : Path
        Of the file.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    file = path.open("rb")
    state = _state(os.fstat(file.fileno()))
    future, ours = _claim(path, state)
    if not ours:
        file.close()
        return PendingDigest(path.name, state, future)

    def work() -> None:
        with file:
            _compute(file, path, state, future, mapped=state[2] > 0)

    # A daemon: nobody waits for a digest that nobody asks for.
    threading.Thread(target=work, name=f"digest {path.name}", daemon=True).start()
    return PendingDigest(path.name, state, future)


def _state(stat: os.stat_result) -> State:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _claim(path: Path, state: State) -> tuple[Future[str], bool]:
    """Return the digest's future, and whether the caller has to compute it."""
    with _guard:
        future = _known.get((path, state))
        if future is not None:
            return future, False
        return _known.setdefault((path, state), Future()), True


def _compute(
    file: BufferedReader, path: Path, state: State, future: Future[str], *, mapped: bool
) -> None:
    """Hash an open file into a future; a failure is not kept for the next who asks."""
    try:
        if mapped:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                digest = hashlib.sha256(data).hexdigest()
        else:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _state(os.fstat(file.fileno())) != state:
            raise CheckpointError(
                f"{path.name} changed while it was read: load it again."
            )
    except BaseException as error:  # whoever waits for the future has to hear of it
        with _guard:
            _known.pop((path, state), None)
        future.set_exception(error)
    else:
        future.set_result(digest)
