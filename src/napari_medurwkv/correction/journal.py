"""Autosave: what a mask looked like a moment ago, kept until it has been saved.

One folder per image in the user's state folder, named by a digest. It holds two
generations that are written in turn, each as a whole or not at all, so that a crash in
the middle of one leaves the other. A lock says that somebody is at work on it; the
system releases it when the process dies.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import platformdirs

from napari_medurwkv.correction.classes import LabelClass
from napari_medurwkv.errors import OutputError
from napari_medurwkv.io.safe_write import write_safely

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Entry", "Journal", "Snapshot", "find_entries", "journal_folder", "tidy"]

MOST_BYTES = 2 << 30
"""All journals together; the oldest go first."""

MOST_DAYS = 30.0
"""Age from which a journal is removed."""

_MAGIC = b"medurwkv journal 1\n"
_GENERATIONS = ("a.mask", "b.mask")
_SLAB_BYTES = 1 << 22
_LOCK = "in-use"


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What a journal keeps of a mask.

    Attributes
    ----------
    labels : ndarray of integers
        The mask.
    marks : ndarray of bool
        Which voxels a person changed.
    classes : tuple of LabelClass
        The list of classes.
    details : mapping
        What JSON holds: the layer's name, volumes, review marks, a small picture.
    """

    labels: NDArray[Any]
    marks: NDArray[np.bool_]
    classes: tuple[LabelClass, ...]
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal that can be recovered.

    Attributes
    ----------
    path : Path
        Its newest sound generation.
    saved : float
        When, in seconds since the epoch.
    classes : tuple of LabelClass
        The list of classes.
    details : mapping
        As in the snapshot.
    """

    path: Path
    saved: float
    classes: tuple[LabelClass, ...]
    details: Mapping[str, Any]

    def load(self) -> Snapshot:
        """Read the mask.

        Raises
        ------
        OutputError
            If the file is damaged.
        """
        return _read(self.path)

    def discard(self) -> None:
        """Delete the journal, unless somebody is at work on it by now."""
        if not _in_use(self.path.parent):
            shutil.rmtree(self.path.parent, ignore_errors=True)


def journal_folder() -> Path:
    """Return the folder of all journals, in the user's state folder."""
    return Path(platformdirs.user_state_path("napari-medurwkv")) / "journal"


class Journal:
    """The journal of one mask.

    Parameters
    ----------
    identity : str
        Tells this image and mask from others; only a digest of it is stored.
    folder : Path, optional
        Of all journals.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """

    def __init__(self, identity: str, folder: Path | None = None) -> None:
        root = journal_folder() if folder is None else folder
        digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._lock: IO[bytes] | None = None
        for attempt in range(100):
            name = digest if attempt == 0 else f"{digest}-{attempt}"
            self.folder = root / name
            if self._take():
                break
        self._next = _older(self.folder)
        self.saved: float | None = None

    def save(self, snapshot: Snapshot) -> Path:
        """Write a generation over the older one; the newer one stays as it is.

        Parameters
        ----------
        snapshot : Snapshot
            What to keep; the arrays are read, not copied.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OutputError
            If it could not be written, or did not come back as it was; what was saved
            before is still there.
        """
        when = time.time()
        head = {
            "saved": when,
            "classes": [asdict(info) for info in snapshot.classes],
            "details": dict(snapshot.details),
            "shape": snapshot.labels.shape,
            "dtype": snapshot.labels.dtype.str,
        }
        digest = hashlib.sha256()

        def write(path: Path) -> None:
            with path.open("wb") as stream:
                _write(stream, head, snapshot, digest)

        def check(path: Path) -> None:
            if _file_digest(path) != digest.hexdigest():
                raise OutputError(
                    f"{path.name} did not come back from the disk as written."
                )

        path = self.folder / _GENERATIONS[self._next]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_folder(self.folder, error) from error
        write_safely(path, write, check, overwrite=True)
        self._next = 1 - self._next
        self.saved = when
        return path

    def discard(self) -> None:
        """Delete it: the mask has been saved, or is not wanted."""
        for name in _GENERATIONS:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)
        self.saved = None

    def close(self) -> None:
        """Let go of it; what was saved stays unless it was discarded."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if not any((self.folder / name).exists() for name in _GENERATIONS):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self) -> bool:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stream = (self.folder / _LOCK).open("ab")
        except OSError as error:
            raise _no_folder(self.folder, error) from error
        if not _lock_file(stream):
            stream.close()
            return False
        if any((self.folder / name).exists() for name in _GENERATIONS):
            # What another session left may still be wanted: it is not written over.
            stream.close()
            return False
        self._lock = stream
        return True


def find_entries(folder: Path | None = None) -> tuple[Entry, ...]:
    """List what can be recovered, the newest first.

    Parameters
    ----------
    folder : Path, optional
        Of all journals.

    Returns
    -------
    tuple of Entry
        Without journals that somebody is at work on.
    """
    root = journal_folder() if folder is None else folder
    entries = []
    for own in sorted(root.glob("*/")) if root.is_dir() else ():
        if _in_use(own):
            continue
        found = [e for name in _GENERATIONS if (e := _entry(own / name)) is not None]
        if found:
            entries.append(max(found, key=lambda entry: entry.saved))
    return tuple(sorted(entries, key=lambda entry: -entry.saved))


def tidy(
    folder: Path | None = None,
    *,
    most_bytes: int = MOST_BYTES,
    most_days: float = MOST_DAYS,
) -> int:
    """Remove journals that are too old, or too large together; never one in use.

    Returns
    -------
    int
        How many were removed.
    """
    root = journal_folder() if folder is None else folder
    kept, removed = 0, 0
    folders = (
        [own for own in root.glob("*/") if not _in_use(own)] if root.is_dir() else []
    )
    for own in sorted(folders, key=_changed, reverse=True):
        size = sum(f.stat().st_size for f in own.iterdir() if f.is_file())
        old = time.time() - _changed(own) > most_days * 86400
        if old or kept + size > most_bytes:
            shutil.rmtree(own, ignore_errors=True)
            removed += 1
        else:
            kept += size
            for stale in own.glob(".tmp-*"):
                stale.unlink(missing_ok=True)
    return removed


def _changed(folder: Path) -> float:
    times = [f.stat().st_mtime for f in folder.iterdir() if f.name in _GENERATIONS]
    return max(times, default=folder.stat().st_mtime)


def _older(folder: Path) -> int:
    times = [
        (folder / name).stat().st_mtime if (folder / name).exists() else 0.0
        for name in _GENERATIONS
    ]
    return int(times[1] < times[0])


def _no_folder(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Your work cannot be kept safe, because {folder} cannot be written "
        f"({error.strerror}); save the mask often."
    )


# ------------------------------------------------------------------------ files


def _write(
    stream: IO[bytes], head: Mapping[str, Any], snapshot: Snapshot, digest: Any
) -> None:
    def put(data: bytes) -> None:
        digest.update(data)
        stream.write(data)

    text = json.dumps(head).encode()
    put(_MAGIC)
    put(len(text).to_bytes(8, "little") + text)
    for array in (snapshot.labels, snapshot.marks):
        for slab in _slabs(array):
            bits = np.packbits(slab) if slab.dtype == bool else slab
            packed = zlib.compress(bits.tobytes(), 1)
            put(len(packed).to_bytes(8, "little") + packed)
    # By this a reader knows that nothing is missing, or was changed.
    stream.write(digest.digest())


def _slabs(array: Any) -> Any:
    plane = max(1, array[:1].size * array.dtype.itemsize)
    step = max(1, _SLAB_BYTES // plane)
    for start in range(0, array.shape[0], step):
        yield np.ascontiguousarray(array[start : start + step])


def _file_digest(path: Path) -> str:
    """Hash a file but for the digest at its end; empty where that does not fit."""
    digest = hashlib.sha256()
    size = path.stat().st_size - digest.digest_size
    with path.open("rb") as stream:
        left = size
        while left > 0:
            part = stream.read(min(left, 1 << 20))
            if not part:
                return ""
            digest.update(part)
            left -= len(part)
        return digest.hexdigest() if stream.read() == digest.digest() else ""


def _head(stream: IO[bytes]) -> dict[str, Any]:
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("no journal")
    size = int.from_bytes(stream.read(8), "little")
    if size > 1 << 24:
        raise ValueError("no journal")
    head: dict[str, Any] = json.loads(stream.read(size))
    return head


def _entry(path: Path) -> Entry | None:
    """Return a sound generation; None where there is none."""
    try:
        if not path.is_file() or not _file_digest(path):
            return None
        with path.open("rb") as stream:
            head = _head(stream)
        classes = tuple(LabelClass(**info) for info in head["classes"])
        return Entry(path, float(head["saved"]), classes, head["details"])
    except (OSError, ValueError, KeyError, TypeError):
        # A damaged generation is what the other one is for.
        return None


def _read(path: Path) -> Snapshot:
    entry = _entry(path)
    if entry is None:
        raise OutputError(f"{path} is damaged and cannot be recovered.")
    with path.open("rb") as stream:
        head = _head(stream)
        shape, dtype = tuple(head["shape"]), np.dtype(head["dtype"])
        labels, marks = np.empty(shape, dtype), np.empty(shape, bool)
        for array in (labels, marks):
            for slab in _views(array):
                packed = stream.read(int.from_bytes(stream.read(8), "little"))
                data = np.frombuffer(zlib.decompress(packed), np.uint8)
                if array.dtype == bool:
                    flat = np.unpackbits(data, count=slab.size).view(bool)
                else:
                    flat = data.view(dtype)
                slab[...] = flat.reshape(slab.shape)
    return Snapshot(labels, marks, entry.classes, entry.details)


def _views(array: NDArray[Any]) -> Sequence[NDArray[Any]]:
    plane = max(1, array[:1].size * array.dtype.itemsize)
    step = max(1, _SLAB_BYTES // plane)
    return [array[k : k + step] for k in range(0, array.shape[0], step)]


# ------------------------------------------------------------------------ locks


def _lock_file(stream: IO[bytes]) -> bool:
    """Take the system's lock of a file without waiting; it ends with the process."""
    try:
        if os.name == "nt":
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _in_use(folder: Path) -> bool:
    path = folder / _LOCK
    if not path.exists():
        return False
    with path.open("ab") as stream:
        return not _lock_file(stream)
