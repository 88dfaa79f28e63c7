"""The voxels of a file as bytes: as many as its header promised, and not one more."""

from __future__ import annotations

import bz2
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.limits import DEFLATE_RATIO, check_claim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Encoding", "beside", "read_payload"]

Encoding = Literal["raw", "gzip", "bzip2", "text"]

CHUNK = 1 << 22
# "-1.7976931348623157e+308 " and longer numbers do not occur in sound files.
LONGEST_NUMBER = 64


def read_payload(
    path: Path,
    dtype: np.dtype[Any],
    count: int,
    *,
    offset: int = 0,
    encoding: Encoding = "raw",
    skip: int = 0,
) -> NDArray[Any]:
    """Read numbers from a file.

    Parameters
    ----------
    path : Path
        The file.
    dtype : dtype
        Of the numbers, with their byte order.
    count : int
        How many.
    offset : int
        Where the (compressed) data begin, in bytes.
    encoding : {"raw", "gzip", "bzip2", "text"}
        "gzip" takes zlib's own wrapping too.
    skip : int
        How many bytes of the unpacked data to leave out before.

    Returns
    -------
    (count,) ndarray
        Of `dtype`.

    Raises
    ------
    ImageError
        If the file holds less, is damaged, or promises more than memory can hold.
    """
    size = count * dtype.itemsize
    ratio = {"raw": 1.0, "gzip": float(DEFLATE_RATIO), "text": 8.0}.get(encoding)
    check_claim(path, skip + size + offset * (encoding == "raw"), ratio=ratio)
    values = np.empty(count, dtype)
    if encoding == "text":
        _fill_from_text(path, offset, values, skip // dtype.itemsize)
        return values
    into = values.view(np.uint8)
    done = 0
    with path.open("rb") as stream:
        stream.seek(offset + (skip if encoding == "raw" else 0))
        try:
            for piece in _pieces(stream, encoding, skip, size):
                into[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done += len(piece)
        except (zlib.error, OSError, EOFError) as error:
            raise _damaged(path, str(error)) from error
    if done < size:
        raise _damaged(path, f"{size - done} bytes are missing")
    return values


def beside(header: Path, name: str) -> Path:
    """Find the data file that a header names: in the header's own folder only.

    A header from elsewhere must not make the program open any file of the computer.

    Raises
    ------
    ImageError
        If the name leads out of the folder, or no such file is there.
    """
    file = header.parent / name
    folder = header.parent.resolve()
    if "\0" in name or not file.resolve().is_relative_to(folder):
        raise ImageError(
            f"{header} names a data file outside its folder: put both beside each "
            "other."
        )
    if not file.is_file():
        raise ImageError(
            f"{header} has its voxels in {file.name}, which is not there: put both "
            "files into one folder."
        )
    return file


def _pieces(
    stream: BinaryIO, encoding: Encoding, start: int, size: int
) -> Iterator[bytes]:
    """Yield the bytes from start to start + size of the unpacked content."""
    if encoding == "raw":
        while size > 0:
            piece = stream.read(min(CHUNK, size))
            if not piece:
                return
            size -= len(piece)
            yield piece
        return
    unpack = _inflate if encoding == "gzip" else _bunzip
    for piece in unpack(stream, start + size):
        if start >= len(piece):
            start -= len(piece)
            continue
        yield piece[start : start + size]
        size -= len(piece) - start
        start = 0


def _inflate(stream: BinaryIO, limit: int) -> Iterator[bytes]:
    """Unpack gzip or zlib data up to a limit; at their end checksums are compared."""
    unpacker = zlib.decompressobj(wbits=47)  # finds out which of the two it is
    while limit > 0:
        chunk = unpacker.unconsumed_tail or stream.read(CHUNK)
        if unpacker.eof:
            rest = unpacker.unused_data + chunk
            if not rest:
                return
            unpacker = zlib.decompressobj(wbits=47)  # gzip may have several members
            chunk = rest
        elif not chunk:
            return
        piece = unpacker.decompress(chunk, min(limit, CHUNK))
        limit -= len(piece)
        yield piece
    while not unpacker.eof:
        chunk = unpacker.unconsumed_tail or stream.read(CHUNK)
        if not chunk or unpacker.decompress(chunk, 1):
            return  # cut off after its last voxel, or more than was promised


def _bunzip(stream: BinaryIO, limit: int) -> Iterator[bytes]:
    unpacker = bz2.BZ2Decompressor()
    while limit > 0 and not unpacker.eof:
        chunk = stream.read(CHUNK) if unpacker.needs_input else b""
        if unpacker.needs_input and not chunk:
            return
        piece = unpacker.decompress(chunk, min(limit, CHUNK))
        limit -= len(piece)
        yield piece


def _fill_from_text(path: Path, offset: int, values: NDArray[Any], skip: int) -> None:
    with path.open("rb") as stream:
        stream.seek(offset)
        text = stream.read((skip + values.size) * LONGEST_NUMBER)
    words = text.split(None, skip + values.size)[skip : skip + values.size]
    if len(words) < values.size:
        raise _damaged(path, f"{values.size - len(words)} numbers are missing")
    kind = float if values.dtype.kind == "f" else int
    try:
        values[...] = [kind(word) for word in words]
    except (ValueError, OverflowError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> ImageError:
    return ImageError(f"{path} is truncated or damaged ({why}): copy it again.")
