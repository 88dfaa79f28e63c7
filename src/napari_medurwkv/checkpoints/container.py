"""The safetensors container: its header, read and checked without torch.

Layout: eight bytes with the length of the header (little-endian), the header as a JSON
object, the tensors' bytes. The format is that of https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from math import prod
from typing import IO, TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.wording import quoted
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Header", "TensorInfo", "parse_header", "read_header", "sniff", "torch_name"]

LENGTH_BYTES = 8
LARGEST_HEADER = 100_000_000
_MOST_DIMENSIONS = 16
FLOATING = "floating point"
# Name in the file: bytes of a value, and what it is.
_TYPES = {
    "BOOL": (1, "bool"),
    "U8": (1, "uint8"),
    "I8": (1, "int8"),
    "U16": (2, "uint16"),
    "I16": (2, "int16"),
    "F16": (2, FLOATING),
    "BF16": (2, FLOATING),
    "U32": (4, "uint32"),
    "I32": (4, "int32"),
    "F32": (4, FLOATING),
    "U64": (8, "uint64"),
    "I64": (8, "int64"),
    "F64": (8, FLOATING),
}
_KNOWN = "checkpoints are .safetensors files, or what torch.save wrote"
_OLD_TORCH = (
    "is a bare pickle, as torch wrote before version 1.6, which can run any program "
    "when it is opened: open it where it came from, and save it again with a newer "
    "torch or as .safetensors"
)
_ZIP = "is an archive as torch writes it: only a .safetensors file fits here"
# First bytes of files that are taken for checkpoints.
_KINDS = (
    (b"PK\x03\x04", _ZIP),
    (b"\x80\x02", _OLD_TORCH),
    (b"\x80\x03", _OLD_TORCH),
    (b"\x80\x04", _OLD_TORCH),
    (b"\x80\x05", _OLD_TORCH),
    (b"\x89HDF", f"is an HDF5 file: {_KNOWN}"),
    (b"\x1f\x8b", f"is packed with gzip: {_KNOWN}; unpack it first"),
    (
        b"version https://git-lfs",
        "is a Git LFS pointer: the checkpoint itself was not downloaded",
    ),
)


_FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def torch_name(dtype: str) -> str:
    """Return torch's name of a type that a header gives in safetensors' notation."""
    return _FLOATS.get(dtype, _TYPES[dtype][1])


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What the header says of one tensor.

    Attributes
    ----------
    dtype : str
        In safetensors' notation, such as F16 or I64.
    shape : tuple of int
    start, stop : int
        Its bytes, counted from the end of the header.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def kind(self) -> str:
        """What the values are: "floating point", or the integer type's name."""
        return _TYPES[self.dtype][1]


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header: the tensors cover the rest of the file, without overlap.

    Attributes
    ----------
    metadata : mapping of str to str
    tensors : mapping of str to TensorInfo
        In the file's order of names.
    start, stop : int
        Bytes of the file in which the tensors lie.
    """

    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorInfo]
    start: int = 0
    stop: int = 0


def read_header(path: Path) -> Header:
    """Read and check the header of a safetensors file; tensors are not read.

    Parameters
    ----------
    path : Path
        Of the file.

    Raises
    ------
    CheckpointError
        The file cannot be read, is something else, is truncated, or its header is
        not sound.
    """
    with _opened(path) as file:
        return _read(file, path.stat().st_size, path.name)


def sniff(path: Path) -> str:
    """Tell by a file's first bytes, not by its name, what wrote it.

    Returns
    -------
    {"safetensors", "torch"}

    Raises
    ------
    CheckpointError
        The file cannot be read, or is no checkpoint.
    """
    with _opened(path) as file:
        first = file.read(512)
        if first.startswith(b"PK\x03\x04"):
            return "torch"
        _header_length(first, path.stat().st_size, path.name)
    return "safetensors"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open an ordinary file; what prevents it becomes a sentence."""
    try:
        if path.is_dir():
            raise CheckpointError(
                f"{path.name} is a folder: give the checkpoint file inside it."
            )
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path.name} is no ordinary file.")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(
            f"There is no checkpoint file {path}: check the path."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"{path.name!r} cannot be read ({reason}): check the path and the file's "
            "permissions."
        ) from error


def _read(file: IO[bytes], size: int, name: str) -> Header:
    first = file.read(512)
    length = _header_length(first, size, name)
    file.seek(LENGTH_BYTES)
    return parse_header(file.read(length), size - LENGTH_BYTES - length, name)


def _header_length(first: bytes, size: int, name: str) -> int:
    """Give the header's length, or say what the file is instead."""
    if not size:
        raise CheckpointError(f"{name} is empty: copy or download it again.")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if first[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{" or length > LARGEST_HEADER:
        raise CheckpointError(f"{name} {_other_kind(first, name)}.")
    if length > size - LENGTH_BYTES:
        raise CheckpointError(
            f"{name} is truncated: its header alone has {length} bytes and the file "
            f"{size}; copy or download it again."
        )
    return length


def _other_kind(first: bytes, name: str) -> str:
    nifti = first[344:347] in (b"n+1", b"ni1") or first[4:7] == b"n+2"
    if nifti or name.lower().endswith(".nii.gz"):
        return f"is an image, in NIfTI format: {_KNOWN}"
    for start, kind in _KINDS:
        if first.startswith(start):
            return kind
    if not set(first) & set(range(9)):
        return f"is a text file: {_KNOWN}"
    return f"is no checkpoint: {_KNOWN}"


def parse_header(text: bytes, data_size: int, name: str) -> Header:
    """Check a header against the number of bytes that follow it.

    Parameters
    ----------
    text : bytes
        The JSON object.
    data_size : int
        Bytes between the header and the end of the file.
    name : str
        Of the file, for messages.

    Raises
    ------
    CheckpointError
        The header is not sound, or the file is truncated or too long.
    """
    try:
        fields = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(name, f"it is not valid JSON, {error}") from error
    if not isinstance(fields, dict):
        raise _damaged(name, "it is no JSON object")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise _damaged(name, "its metadata are not texts")
    tensors = {key: _tensor(key, value, name) for key, value in fields.items()}
    _check_cover(tensors, data_size, name)
    start = LENGTH_BYTES + len(text)
    return Header(metadata, tensors, start, start + data_size)


def _damaged(name: str, problem: str) -> CheckpointError:
    return CheckpointError(
        f"The header of {name} is damaged: {problem}; copy or download the file again."
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _is_size(value: object) -> bool:
    return type(value) is int and value >= 0


def _tensor(key: str, fields: Any, name: str) -> TensorInfo:
    if not isinstance(fields, dict) or set(fields) != {
        "dtype",
        "shape",
        "data_offsets",
    }:
        raise _damaged(name, f"tensor {quoted(key)} lacks type, shape or offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise CheckpointError(
            f"Tensor {quoted(key)} of {name} is stored as {quoted(dtype)}, which is "
            f"not supported: the types are {', '.join(_TYPES)}."
        )
    if (
        not isinstance(shape, list)
        or len(shape) > _MOST_DIMENSIONS
        or not all(map(_is_size, shape))
    ):
        raise _damaged(name, f"the shape of tensor {quoted(key)} is not valid")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(map(_is_size, offsets))
        or offsets[1] - offsets[0] != prod(shape) * _TYPES[dtype][0]
    ):
        raise _damaged(
            name, f"the offsets of tensor {quoted(key)} do not agree with its shape"
        )
    return TensorInfo(dtype, tuple(shape), *offsets)


def _check_cover(tensors: Mapping[str, TensorInfo], data_size: int, name: str) -> None:
    """Require that the tensors fill the data without a gap or an overlap."""
    end = 0
    for key, info in sorted(tensors.items(), key=lambda t: (t[1].start, t[1].stop)):
        if info.start != end:
            raise _damaged(
                name, f"tensor {quoted(key)} overlaps another or leaves a gap"
            )
        end = info.stop
    if data_size < end:
        raise CheckpointError(
            f"{name} is truncated: {end - data_size} bytes of its tensors are missing; "
            "copy or download it again."
        )
    if data_size > end:
        raise CheckpointError(
            f"{name} has {data_size - end} bytes more than its tensors need: it is "
            "damaged, copy or download it again."
        )
