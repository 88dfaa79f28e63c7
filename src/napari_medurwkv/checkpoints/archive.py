"""PyTorch's own files (.pth, .pt, .ckpt, .bin): looked into, then read as plain data.

Such a file is a zip archive: one pickle, which may name any program, and the tensors'
bytes beside it. It is opened by ``torch.load(weights_only=True)`` alone, which builds
tensors and containers and nothing else, and only after its directory was judged: sizes,
names, no compression. There is no other way in.
"""

from __future__ import annotations

import contextlib
import re
import zipfile
from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.wording import listed, quoted, shortened
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_directory", "open_archive"]

OLDEST_TORCH = (2, 10)
"""Earlier ones can be made to write outside a buffer by a plain pickle."""

LARGEST_PICKLE = 4 << 20
"""Of the pickle without the tensors; real ones hold some hundred bytes per tensor."""

_MOST_ENTRIES = 100_000
# Bytes of the directory itself, per entry and in all, that are no tensor.
_OVERHEAD = 1 << 16
_MEMBERS = re.compile(
    r"(?:[^/\\\x00]{1,255}/)?"
    r"(?:data\.pkl|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/serialization_id|data/[0-9]+)"
)
_CODE = re.compile(r"(?:[^/\\]{1,255}/)?(?:code/.*|constants\.pkl|constants/.*)")


def check_directory(path: Path) -> None:
    """Judge the archive's directory; nothing inside is read.

    Raises
    ------
    CheckpointError
        The archive is broken, compressed or encrypted, promises more than it holds,
        or has entries that no checkpoint has.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path.name} is truncated or damaged, its archive has no sound directory "
            f"({error}): copy or download it again."
        ) from error
    if len(members) > _MOST_ENTRIES:
        raise CheckpointError(
            f"{path.name} is refused: its archive has {len(members)} entries, which no "
            "checkpoint has."
        )
    _check_names([member.filename for member in members], path.name)
    packed = [m for m in members if m.compress_type != zipfile.ZIP_STORED]
    if packed or any(member.flag_bits & 1 for member in members):
        raise CheckpointError(
            f"{path.name} is refused: its archive is compressed or encrypted, which "
            "checkpoints never are and which can hide a size that fills the memory."
        )
    if sum(member.file_size for member in members) > size + _OVERHEAD:
        raise CheckpointError(
            f"{path.name} is refused: its archive promises more bytes than the file "
            "has."
        )
    pickled = next((m for m in members if m.filename.endswith("data.pkl")), None)
    if pickled is None:
        raise CheckpointError(
            f"{path.name} is a zip archive but no checkpoint: it has no 'data.pkl'."
        )
    if pickled.file_size > LARGEST_PICKLE:
        raise CheckpointError(
            f"{path.name} is refused: its pickle has {pickled.file_size} bytes besides "
            f"the tensors, and checkpoints have at most {LARGEST_PICKLE}; save the "
            "weights alone."
        )


def _check_names(names: list[str], name: str) -> None:
    if any(_CODE.fullmatch(entry) for entry in names):
        raise CheckpointError(
            f"{name} is a TorchScript program, not a checkpoint: save the network's "
            "state_dict() instead."
        )
    odd = [entry for entry in names if not _MEMBERS.fullmatch(entry)]
    if odd or len(set(names)) != len(names):
        shown = listed([quoted(entry) for entry in odd], ", ", 3)
        reason = (
            f"entries that no checkpoint has: {shown}" if odd else "doubled entries"
        )
        raise CheckpointError(f"{name} is refused: its archive has {reason}.")
    folders = {entry.partition("/")[0] for entry in names if "/" in entry}
    if ".." in folders or "." in folders or "" in folders:
        raise CheckpointError(
            f"{name} is refused: its archive has entries that lead out of a folder."
        )


def check_torch() -> None:
    """Refuse a torch whose reader of plain data is known to be unsafe."""
    import torch

    found = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if found < OLDEST_TORCH:
        raise CheckpointError(
            f"torch {torch.__version__} has a hole through which a checkpoint can take "
            "over the computer: update it to 2.10 or later, then load the file."
        )


def open_archive(path: Path, *, tensors_only: bool = False) -> Any:
    """Read the containers and tensors in a file; the tensors stay on the disk.

    Parameters
    ----------
    path : Path
        Of the file.
    tensors_only : bool
        Put an empty placeholder in place of every program part that the pickle names,
        instead of refusing it. The reader stays the same and runs nothing of the file.

    Returns
    -------
    object
        Usually nested dictionaries. Tensors are mapped from the file: reading one
        reads its part of the file, and changing it changes only the copy in memory.

    Raises
    ------
    CheckpointError
        The archive is unsound, or its pickle names anything but tensors and
        containers.
    """
    check_directory(path)
    if path.suffix.lower() == ".safetensors":
        # torch's reader goes by the name and would take it for what it is not.
        raise CheckpointError(
            f"{path.name} is called a safetensors file and is an archive of torch: "
            "rename it to end in .pth."
        )
    check_torch()
    import torch

    try:
        with _placeholders(path) if tensors_only else contextlib.nullcontext():
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:
        # What a hostile pickle makes the reader raise is not one family of errors.
        raise CheckpointError(_explain(error, path.name)) from error


class _Placeholder:
    """Stands for an object of a training program: takes anything, keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Placeholder:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _placeholders(path: Path) -> contextlib.AbstractContextManager[Any]:
    """Let the reader take placeholders for all that it does not know in a file."""
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    names = get_unsafe_globals_in_checkpoint(path)
    stand_ins: list[Any] = [
        (type("Placeholder", (_Placeholder,), {}), full_name) for full_name in names
    ]
    manager: contextlib.AbstractContextManager[Any] = safe_globals(stand_ins)  # type: ignore[no-untyped-call]
    return manager


def _explain(error: Exception, name: str) -> str:
    text = str(error)
    named = re.search(
        r"(?:Unsupported global: GLOBAL|Unsupported class|GLOBAL) ([\w.]+)", text
    )
    if named or "weights_only" in text.lower() or "Weights only" in text:
        what = f"the program part {quoted(named[1])}" if named else "program parts"
        return (
            f"{name} is refused: besides tensors it names {what}, which loading would "
            "run. If you trust its origin, let 'medurwkv convert --tensors-only' take "
            "the tensors out; nothing of the rest is run."
        )
    return (
        f"{name} is damaged or no checkpoint ({shortened(text.splitlines()[0])}): copy "
        "or download it again."
        if text
        else f"{name} is damaged or no checkpoint: copy or download it again."
    )
