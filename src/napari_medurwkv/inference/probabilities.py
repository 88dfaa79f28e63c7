"""The probabilities of one run in a file that is mapped: 8 bits for each class.

They let a mask be decided again, by another threshold, without the network. The file
belongs to one run and says which.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import uuid
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.errors import ImageError, OutputError
from napari_medurwkv.inference.processes import alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "LARGEST",
    "MOST_VALUES",
    "Probabilities",
    "Rule",
    "cache_folder",
    "leave_nothing",
    "new_cache_path",
    "take_room",
    "write_probabilities",
]

LARGEST = 16 * 2**30
"""Bytes that the probabilities of one run may take."""
MOST_VALUES = 255
"""With more classes, the most probable one could be rounded to nothing."""
SUFFIX = ".medurwkv-probabilities"
_MAGIC = b"napari-medurwkv probabilities 1\n"
_HEADER = 1 << 18
_SLAB = 64 * 2**20
_NAME = re.compile(r"(\d+)-[0-9a-f]{32}" + re.escape(SUFFIX))


@dataclass(frozen=True, slots=True)
class Rule:
    """How the probabilities become a mask, and where they lie in it.

    Attributes
    ----------
    run_id : str
        Of the run that they come from; its record holds the same.
    shape : tuple of int
        Of the whole mask, in display order.
    box : tuple of (int, int)
        First and end index per axis of the part that was computed.
    values : tuple of int
        Mask value of each probability, ascending.
    activation : {"softmax", "sigmoid"}
        Whether the values exclude each other.
    threshold : float
        Of the card; used with sigmoid.
    axis : int or None
        Display axis that counts planes; None for a picture.
    volume : bool
        Whether neighbouring planes belong together.
    instances : dict or None
        The card's recipe (fields of `InstanceRecipe`) where objects were numbered; the
        last channel then holds the probability of their interiors.
    """

    run_id: str
    shape: tuple[int, ...]
    box: tuple[tuple[int, int], ...]
    values: tuple[int, ...]
    activation: Literal["softmax", "sigmoid"]
    threshold: float
    axis: int | None
    volume: bool
    instances: dict[str, Any] | None = None

    @property
    def channels(self) -> int:
        """Bytes of each voxel."""
        return len(self.values) + (self.instances is not None)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the array in the file: channels, then the part's axes."""
        return (self.channels, *(end - first for first, end in self.box))

    @property
    def nbytes(self) -> int:
        """Bytes of that array."""
        return math.prod(self.stored_shape)

    @property
    def part(self) -> tuple[slice, ...]:
        """The part of the mask, as slices."""
        return tuple(slice(*ends) for ends in self.box)


class Probabilities:
    """The kept probabilities of a run.

    Parameters
    ----------
    path : str or Path
        Written by a run that has ended.
    run_id : str, optional
        Of the run that they are expected to be of.
    temporary : bool
        Whether the file goes with this object, or with the program at the latest.

    Attributes
    ----------
    path : Path
        The file.
    rule : Rule
        How they become a mask.
    about : dict
        What else the run wrote down: its "classes" and its "record", as JSON.

    Raises
    ------
    OutputError
        If the file holds no probabilities, not all of them, or those of another run.
    """

    def __init__(
        self, path: str | Path, run_id: str | None = None, *, temporary: bool = False
    ) -> None:
        self.path = Path(path)
        self.rule, complete, self.about = _read_header(self.path)
        if not complete:
            raise OutputError(
                f"{self.path.name} was left by a run that did not finish: run again."
            )
        if run_id is not None and self.rule.run_id != run_id:
            raise OutputError(
                f"{self.path.name} holds the probabilities of another run; they are "
                "not used."
            )
        self._array: NDArray[np.uint8] | None = _map(self.path, self.rule, "r")
        self._remove = weakref.finalize(self, _unlink, self.path) if temporary else None

    @property
    def array(self) -> NDArray[np.uint8]:
        """Shape `rule.stored_shape`; 255 stands for 1. Mapped, not in memory.

        Raises
        ------
        OutputError
            After `close`.
        """
        if self._array is None:
            raise OutputError("The probabilities of this run are gone: run again.")
        return self._array

    @property
    def closed(self) -> bool:
        """Whether they are gone."""
        return self._array is None

    def close(self) -> None:
        """Let go of the file; a temporary one is removed."""
        self._array = None
        if self._remove is not None:
            self._remove()


def cache_folder() -> Path:
    """Return the user's folder for files that only this program's life needs."""
    import platformdirs

    return Path(platformdirs.user_cache_path("napari-medurwkv")) / "probabilities"


def new_cache_path(folder: Path | None = None) -> Path:
    """Name a new file in the cache, and remove those of programs that have died.

    Parameters
    ----------
    folder : Path, optional
        `cache_folder()` by default; made if it is not there, for this user alone.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """
    where = cache_folder() if folder is None else folder
    try:
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in where.iterdir():
            match = _NAME.fullmatch(old.name)
            if match and not alive(int(match[1])):
                _unlink(old)
    except OSError as error:
        raise OutputError(
            f"The folder {where} for the probabilities cannot be used "
            f"({error.strerror}); run without keeping them."
        ) from error
    return where / f"{os.getpid()}-{uuid.uuid4().hex}{SUFFIX}"


@contextlib.contextmanager
def write_probabilities(
    path: Path, rule: Rule, about: dict[str, Any] | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Make a file for probabilities, and vouch for it in the end.

    Parameters
    ----------
    path : Path
        Must not exist.
    rule : Rule
        What will be in it.
    about : dict, optional
        What JSON can hold, to be kept in the file; read when the block ends.

    Yields
    ------
    ndarray of uint8, shape `rule.stored_shape`
        To be filled. Room for all of it has been taken on the disk. Where the block
        raises, the file goes; else it counts as complete.

    Raises
    ------
    ImageError
        If there are too many classes, or too many voxels.
    OutputError
        If the file is there, or there is no room for it.
    """
    if len(rule.values) > MOST_VALUES:
        raise ImageError(
            f"Probabilities are kept for up to {MOST_VALUES} classes, and this model "
            f"has {len(rule.values)}; run without keeping them."
        )
    if rule.nbytes > LARGEST:
        raise ImageError(
            f"The probabilities would take {rule.nbytes / 1e9:.1f} GB, and "
            f"{LARGEST / 1e9:.1f} GB are allowed; run on a part of the image, or "
            "without keeping them."
        )
    try:
        with path.open("xb") as file:
            file.write(_header(rule, {}, complete=False))
            take_room(file.fileno(), _HEADER, rule.nbytes)
    except FileExistsError:
        raise OutputError(f"{path} exists already; choose another name.") from None
    except OSError as error:
        _unlink(path)
        raise _no_room(path, rule.nbytes, error) from error
    array = _map(path, rule, "r+")
    try:
        yield array
        array.flush()  # type: ignore[attr-defined]
        with path.open("r+b") as file:
            file.write(_header(rule, about or {}, complete=True))
    except BaseException:
        del array
        _unlink(path)
        raise


@contextlib.contextmanager
def leave_nothing(path: Path | None) -> Iterator[list[Probabilities | None]]:
    """Remove a file that another process was to write, unless somebody took it.

    Parameters
    ----------
    path : Path or None
        The file; None where there is none.

    Yields
    ------
    list
        Whoever takes the file over adds it here.
    """
    taken: list[Probabilities | None] = []
    try:
        yield taken
    finally:
        if path is not None and not any(taken):
            _unlink(path)


def _map(path: Path, rule: Rule, mode: Literal["r", "r+"]) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, mode, _HEADER, rule.stored_shape)


def _header(rule: Rule, about: dict[str, Any], *, complete: bool) -> bytes:
    fields = {"complete": complete, "about": about, **asdict(rule)}
    text = json.dumps(fields).encode()
    if len(_MAGIC) + len(text) > _HEADER:
        raise ImageError("This model has too many classes to keep probabilities of.")
    return (_MAGIC + text).ljust(_HEADER)


def _read_header(path: Path) -> tuple[Rule, bool, dict[str, Any]]:
    damaged = OutputError(
        f"{path.name} holds no probabilities of this program, or is damaged."
    )
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER)
        size = path.stat().st_size
    except OSError as error:
        raise OutputError(
            f"{path} cannot be read ({error.strerror}); run again."
        ) from error
    if len(head) < _HEADER or not head.startswith(_MAGIC):
        raise damaged
    try:
        fields = json.loads(head[len(_MAGIC) :])
        complete = bool(fields.pop("complete"))
        about = dict(fields.pop("about"))
        fields["shape"] = tuple(fields["shape"])
        fields["box"] = tuple((int(a), int(b)) for a, b in fields["box"])
        fields["values"] = tuple(fields["values"])
        rule = Rule(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise damaged from error
    if size != _HEADER + rule.nbytes:
        raise damaged
    return rule, complete, about


def take_room(file: int, offset: int, size: int) -> None:
    """Take room in a file: a mapped page without any would end the program.

    Parameters
    ----------
    file : int
        Descriptor of a file that can be written.
    offset, size : int
        Bytes; they read as zeros.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, offset, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        else:
            return
    zeros = bytes(min(size, _SLAB))
    os.lseek(file, offset, os.SEEK_SET)
    left = size
    while left:
        left -= os.write(file, zeros[:left])


def _no_room(path: Path, size: int, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(
            f"{path.parent} has no room for the {size / 1e9:.1f} GB of probabilities; "
            "free some, or run without keeping them."
        )
    return OutputError(
        f"The probabilities cannot be written to {path} ({error.strerror}); run "
        "without keeping them."
    )


def _unlink(path: Path) -> None:
    # Windows keeps a file that is still mapped; the next run removes it.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        path.unlink()
