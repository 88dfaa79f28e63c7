"""What a file may claim: its size is judged before any memory is taken for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_medurwkv.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["available_memory", "check_claim", "size_text"]

# Deflate (gzip, PNG) codes at most 258 bytes in 2 bits: no honest file expands more.
DEFLATE_RATIO = 1032
# What unpacks to more than this, and to more than so many times the file, is taken for
# a decompression bomb: large images are not that empty.
BOMB_SIZE = 1 << 30
BOMB_RATIO = 100
# Headers, checksums and the like that are not voxels.
SLACK = 1 << 16


def available_memory() -> int | None:
    """Bytes of memory that can be taken without swapping; None where nobody says."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: ask for all the memory there is
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_claim(
    path: Path,
    claimed: int,
    *,
    ratio: float | None = 1.0,
    stored: int | None = None,
) -> None:
    """Refuse a file whose header promises more than it, or the machine, can hold.

    Parameters
    ----------
    path : Path
        The file.
    claimed : int
        Bytes of voxels that its header promises.
    ratio : float or None
        How often larger than the file its content may be: 1 for plain storage,
        `DEFLATE_RATIO` for gzip and PNG, None where nothing bounds it.
    stored : int, optional
        Bytes that hold the voxels; the file's by default.

    Raises
    ------
    ImageError
        If the file is too small for its header, or memory for the image.
    """
    if stored is None:
        stored = path.stat().st_size
    if ratio is not None and claimed > stored * ratio + (ratio > 1) * SLACK:
        raise ImageError(
            f"{path} is truncated or damaged: its header promises "
            f"{size_text(claimed)} of voxels, but the file has {size_text(stored)}."
        )
    if claimed > max(BOMB_SIZE, BOMB_RATIO * stored):
        raise ImageError(
            f"{path} has {size_text(stored)} and would unpack to {size_text(claimed)}, "
            "as files do that are made to exhaust memory: if it is sound, save it "
            "without compression."
        )
    free = available_memory()
    if free is not None and claimed > free:
        raise ImageError(
            f"{path} needs {size_text(claimed)} of memory and {size_text(free)} are "
            "free: close other programs, or crop or downsample the image."
        )


def size_text(size: int) -> str:
    """Bytes in words: "3.2 MB"."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
