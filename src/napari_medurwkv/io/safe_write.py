"""Write files so that nothing that existed is ever damaged.

Temporary file beside the target, flush to the disk, read back and compare, replace.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medurwkv.errors import OutputError
from napari_medurwkv.io.swap import swap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "Output",
    "text_output",
    "write_all_safely",
    "write_safely",
    "write_text_safely",
]

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


@dataclass(frozen=True, slots=True)
class Output:
    """One file or folder to write.

    Parameters
    ----------
    path : Path
        Target. A link is followed: what it names is replaced.
    write : callable
        Writes the content to the path it is given, which ends like `path`.
    check : callable, optional
        Reads the path it is given and raises OutputError if the content is not what
        was meant.
    folder : bool
        Whether it is a folder (OME-Zarr).
    """

    path: Path
    write: Callable[[Path], None]
    check: Callable[[Path], None] | None = None
    folder: bool = False


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
    return write_all_safely([Output(Path(path), write, check)], overwrite=overwrite)[0]


def write_all_safely(
    outputs: Sequence[Output], *, overwrite: bool = False
) -> list[Path]:
    """Write files and folders that belong together.

    All are written beside their targets, flushed and checked before the first target is
    touched: a full disk or a failed check leaves every old file in place. Then they are
    moved over their targets in turn, each at once; a folder changes place with the old
    one where the system can do that at once (Linux, macOS), and else is moved there
    while the old one waits beside it.

    Parameters
    ----------
    outputs : sequence of Output
        What to write.
    overwrite : bool
        Whether existing files and folders may be replaced.

    Returns
    -------
    list of Path
        The targets.

    Raises
    ------
    OutputError
        As `write_safely`.
    """
    staged: list[tuple[Output, Path, Path]] = []
    try:
        for output in outputs:
            target = Path(os.path.realpath(output.path))
            with _told_of(output.path):
                _refuse_unwritable(output, target, overwrite)
        for output in outputs:
            target = Path(os.path.realpath(output.path))
            temporary = _temporary(target)
            staged.append((output, target, temporary))
            with _told_of(output.path):
                output.write(temporary)
                _to_disk(temporary)
                if output.check is not None:
                    output.check(temporary)
        for output, target, temporary in staged:
            with _told_of(output.path):
                if not overwrite and target.exists():
                    raise _exists(output.path)
                _move(temporary, target)
                _folder_to_disk(target.parent)
    finally:
        # Gone already where all went well; else the first error is the one to tell.
        for _, _, temporary in staged:
            with suppress(OSError):
                _remove(temporary)
    return [output.path for output in outputs]


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"{path} was not written: {reason}.") from error


def _temporary(target: Path) -> Path:
    # Ends like the target, because writers choose the format by the ending.
    ending = "".join(target.suffixes[-2:])
    return target.parent / f".tmp-{os.getpid()}-{secrets.token_hex(4)}{ending}"


def _move(temporary: Path, target: Path) -> None:
    if temporary.is_dir() and target.exists():
        swap(temporary, target)
        # The old one is now under the temporary name, and goes with it.
        return
    os.replace(temporary, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text_safely(path: str | Path, text: str, *, overwrite: bool = False) -> Path:
    """Write a text file (UTF-8, line ends as given) as `write_safely` does.

    Raises
    ------
    OutputError
        As `write_safely`.
    """
    return write_all_safely([text_output(Path(path), text)], overwrite=overwrite)[0]


def text_output(path: Path, text: str) -> Output:
    """Describe a text file (UTF-8, line ends as given) for `write_all_safely`."""
    content = text.encode("utf-8")

    def write(part: Path) -> None:
        part.write_bytes(content)

    def check(part: Path) -> None:
        if part.read_bytes() != content:
            raise OutputError(f"{path} did not come back from the disk as written.")

    return Output(path, write, check)


def _refuse_unwritable(output: Output, target: Path, overwrite: bool) -> None:
    asked = output.path
    if target.is_dir() and not output.folder:
        raise OutputError(f"{asked} is a folder: give the name of a file.")
    if output.folder and target.exists() and not target.is_dir():
        raise OutputError(f"{asked} is a file, and a folder has to go there.")
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
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                _to_disk(Path(folder) / name)
            _folder_to_disk(Path(folder))
        return
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
