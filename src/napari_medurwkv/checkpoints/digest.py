"""SHA-256 of files, computed once as long as a file stays the same."""

from __future__ import annotations

import hashlib
import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["file_digest"]

# Path, time of change and size, to the digest.
_known: dict[tuple[Path, int, int], str] = {}


def file_digest(path: Path, *, mapped: bool = False) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Parameters
    ----------
    path : Path
        Of the file.
    mapped : bool
        Hash it in one go, mapped: beside other work in Python, reading piece by piece
        waits for that at each piece. A mapped file must not be cut short meanwhile,
        so this is for files whose tensors are mapped as well.
    """
    stat = path.stat()
    state = (path, stat.st_mtime_ns, stat.st_size)
    if state not in _known:
        with path.open("rb") as file:
            if mapped and stat.st_size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    _known[state] = hashlib.sha256(data).hexdigest()
            else:
                _known[state] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[state]
