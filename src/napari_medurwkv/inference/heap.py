"""Memory that is freed and asked for again with every window.

The numbers of a window take megabytes. By default, glibc gives them back to the system
when they are freed, and the system fills new ones with zeros: half of what the engine
itself costs per window. Programs that do nothing else may keep them meanwhile.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

__all__ = ["give_memory_back", "keep_freed_memory"]

KEPT = 512 << 20
"""Bytes that may stay unused at the end of the heap."""
_TRIM, _MMAP = -1, -3
# Larger blocks come from the system one by one; older libraries take 32 MiB at most.
_LARGEST = (256 << 20, 32 << 20)


@functools.cache
def _libc() -> Any:
    """Return glibc; None on systems with another library."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    return library


def keep_freed_memory() -> bool:
    """Have this process keep what is freed; for programs that only compute.

    Returns
    -------
    bool
        False where the system's library does not know of it.
    """
    library = _libc()
    if library is None:
        return False
    return any(library.mallopt(_MMAP, size) for size in _LARGEST) and bool(
        library.mallopt(_TRIM, KEPT)
    )


def give_memory_back() -> None:
    """Give back what is kept: the work is over for now."""
    library = _libc()
    if library is not None:
        library.malloc_trim(0)
