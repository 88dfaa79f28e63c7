"""Let a new folder take the place of an old one, at once where the system can."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["swap"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux: linux/fs.h
_RENAME_SWAP = 2  # macOS: sys/stdio.h


def swap(new: Path, old: Path) -> None:
    """Exchange two folders of one disk.

    On Linux and macOS that is one step of the file system, so at every moment `old`
    names a whole folder. Elsewhere, and on disks that cannot do it, the old folder is
    first moved aside; a computer that stops between leaves it there, whole, under the
    name ``old`` + ``.before``.

    Parameters
    ----------
    new, old : Path
        Afterwards `old` names the new folder and `new` the old one.

    Raises
    ------
    OSError
        If it cannot be done; both are then as they were.
    """
    if _exchange(new, old):
        return
    aside = old.with_name(f"{old.name}.before")
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise
    os.rename(aside, new)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange in one step; False where that is not to be had."""
    names = os.fsencode(first), os.fsencode(second)
    if os.name == "nt":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(
            _AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE
        )
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _RENAME_SWAP)
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), os.fspath(second))
