"""SHA-256 of files, computed once as long as a file stays the same."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["file_digest"]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _digest(path: Path, modified: int, size: int) -> str:
    """Hash a file; a change of its time or size is another call."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
