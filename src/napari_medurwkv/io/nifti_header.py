"""The header of a NIfTI file: read, found sound, and its claims believed or refused.

Only the header is read; extensions, which carry patients' data and sizes of their own,
are neither read nor written anywhere.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.limits import DEFLATE_RATIO, check_claim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["NiftiFile", "empty_header", "open_nifti", "parse_header"]

logger = logging.getLogger(__name__)

NIFTI1_SIZE, NIFTI2_SIZE = 348, 540


@dataclass(frozen=True, slots=True)
class NiftiFile:
    """A NIfTI file whose header has been read and found sound.

    Parameters
    ----------
    path : Path
        The file.
    header : nibabel.nifti1.Nifti1Header
        Or a Nifti2Header; with nibabel's repairs of harmless defects.
    raw : bytes
        The binary header as it is in the file.
    compressed : bool
        Whether the file is gzip, whatever its name says.
    """

    path: Path
    header: Any
    raw: bytes
    compressed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return tuple(int(n) for n in self.header.get_data_shape())

    @property
    def frames(self) -> int:
        """Volumes along the fourth axis."""
        return self.shape[3] if len(self.shape) > 3 else 1

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """File axes that are space: a single slice's own axis is left out."""
        space = self.shape[:3]
        axes = list(range(len(space)))
        if len(space) == 3 and 1 in space:
            axes.remove(max(axis for axis in axes if space[axis] == 1))
        return tuple(axes)

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """Open the uncompressed content; a broken one becomes an ImageError."""
        with _content(self.path, self.compressed) as content:
            yield content


def open_nifti(path: Path) -> NiftiFile:
    """Read and check a header; no voxel is touched.

    Parameters
    ----------
    path : Path
        The file; whether it is compressed is seen from its content.

    Returns
    -------
    NiftiFile

    Raises
    ------
    ImageError
        If the file is not a NIfTI image, is empty, or claims more than it can hold.
    """
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with _content(path, compressed) as content:
        start = content.read(NIFTI2_SIZE)
    raw = start[: _header_size(path, start)]
    file_ = NiftiFile(path, _sound_header(path, raw), raw, compressed)
    shape = file_.shape
    if 0 in shape or not shape:
        raise ImageError(f"{path} is empty: its shape is {shape}.")
    if len(shape) < 2:
        raise ImageError(f"{path} has one axis only, so it is not an image.")
    if any(n > 1 for n in shape[4:]):
        raise ImageError(
            f"{path} holds several values per voxel (shape {shape}): save the one that "
            "is to be segmented as its own image."
        )
    item = file_.header.get_data_dtype().itemsize
    claimed = int(np.prod(shape, dtype=object)) * item
    start_of_voxels = int(file_.header.get_data_offset())
    check_claim(path, start_of_voxels + claimed, ratio=_ratio(compressed))
    return file_


def parse_header(raw: bytes) -> Any:
    """Make nibabel's header object of a binary header, as it is, unrepaired."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    kind = Nifti1Header if len(raw) == NIFTI1_SIZE else Nifti2Header
    return kind(raw, check=False)


def empty_header(like: Any = None) -> Any:
    """Make a header with nothing in it: NIfTI-1, or of another's version and order."""
    from nibabel.nifti1 import Nifti1Header

    return Nifti1Header() if like is None else type(like)(endianness=like.endianness)


@contextmanager
def _content(path: Path, compressed: bool) -> Iterator[BinaryIO]:
    try:
        if compressed:
            with gzip.open(path, "rb") as stream:
                yield cast("BinaryIO", stream)
        else:
            with path.open("rb") as plain:
                yield plain
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImageError(
            f"{path} is truncated or damaged ({error}): copy it again."
        ) from error


def _header_size(path: Path, start: bytes) -> int:
    """Tell the header's size by its first number and its magic string."""
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    for size, magic in (
        (NIFTI1_SIZE, start[344:348]),
        (NIFTI2_SIZE, start[4:8]),
    ):
        if size not in sizes:
            continue
        if len(start) < size:
            raise ImageError(f"{path} is truncated: it ends within its header.")
        if magic.startswith(b"n+"):
            return size
        if magic.startswith(b"ni"):
            raise ImageError(
                f"{path} is one half of a .hdr/.img pair: convert it to .nii.gz."
            )
    raise ImageError(f"{path} is not a NIfTI image: {_looks_like(start)}.")


def _sound_header(path: Path, raw: bytes) -> Any:
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        header = parse_header(raw)
        # Our logger, because nibabel's own prints to the terminal.
        header.check_fix(logger=logger, error_level=40)
        header.get_data_dtype()
        header.get_slope_inter()
        offset = int(header.get_data_offset())
        sizes = header.get_data_shape()
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        raise ImageError(f"{path} has a damaged NIfTI header: {error}.") from error
    if min(sizes, default=0) < 0 or offset < len(raw):
        raise ImageError(
            f"{path} has a damaged NIfTI header: its shape is {tuple(sizes)} and its "
            f"voxels begin at byte {offset}."
        )
    return header


def _ratio(compressed: bool) -> float:
    return DEFLATE_RATIO if compressed else 1.0


def _looks_like(start: bytes) -> str:
    if not start:
        return "the file has no content"
    if start[128:132] == b"DICM":
        return "it is a DICOM file"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start[:200]):
        return "it is a text file"
    return "its content does not begin with a NIfTI header"
