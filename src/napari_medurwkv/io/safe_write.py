"""Write files so that nothing that existed is ever damaged.

Temporary file beside the target, flush to the disk, read back and compare, replace.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medurwkv.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["write_safely", "write_text_safely"]

_REASONS = {
    errno.ENOSPC: "there is no space left on the disk; free some or choose another "
    "folder",
    errno.EDQUOT: "your disk quota is used up; free some or choose another folder",
    errno.EFBIG: "the file would be larger than the disk allows; choose another disk",
    errno.EACCES: "this folder may not be written to; choose another one",
    errno.EPERM: "this folder may not be written to; choose another one",
    errno.EROFS: "this disk is read-only; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def write_safely(
    path: str | Path,
    write: Callable[[Path], None],
    check: Callable[[Path], None] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a file so that the target is either as before or complete.

    Parameters
    ----------
    path : str or Path
        Target. A link is followed: the file that it names is replaced.
    write : callable
        Writes the content to the path it is given, which ends like `path`.
    check : callable, optional
        Reads the path it is given and raises OutputError if the content is not what
        was meant.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The target.

    Raises
    ------
    OutputError
        If the target exists, cannot be written, or did not come back as written. The
        target is then as it was, and no temporary file stays.
    """
    asked = Path(path)
    target = Path(os.path.realpath(asked))
    # Ends like the target, because writers choose the format by the ending.
    ending = "".join(target.suffixes[-2:])
    temporary = target.parent / f".tmp-{os.getpid()}-{secrets.token_hex(4)}{ending}"
    try:
        _refuse_unwritable(asked, target, overwrite)
        write(temporary)
        _to_disk(temporary)
        if check is not None:
            check(temporary)
        if not overwrite and target.exists():
            raise _exists(asked)
        os.replace(temporary, target)
        _folder_to_disk(target.parent)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"{asked} was not written: {reason}.") from error
    finally:
        # Gone already where all went well; else the first error is the one to tell.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return asked


def write_text_safely(path: str | Path, text: str, *, overwrite: bool = False) -> Path:
    """Write a text file (UTF-8, line ends as given) as `write_safely` does.

    Raises
    ------
    OutputError
        As `write_safely`.
    """
    content = text.encode("utf-8")

    def check(written: Path) -> None:
        if written.read_bytes() != content:
            raise OutputError(f"{path} did not come back from the disk as written.")

    return write_safely(
        path, lambda part: _write_bytes(part, content), check, overwrite=overwrite
    )


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _refuse_unwritable(asked: Path, target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise OutputError(f"{asked} is a folder: give the name of a file.")
    if not target.parent.is_dir():
        raise OutputError(
            f"{asked} was not written: the folder {asked.parent} does not exist."
        )
    if target.exists() and not overwrite:
        raise _exists(asked)


def _exists(path: Path) -> OutputError:
    return OutputError(
        f"{path} exists already: allow overwriting or choose a new name."
    )


def _to_disk(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _folder_to_disk(folder: Path) -> None:
    """Make the new name itself last, where the system lets a folder be flushed."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot; the content is safe already.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
