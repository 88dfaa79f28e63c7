"""MGH and MGZ, the volumes of FreeSurfer: read an image or a mask."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.volume import VolumeHeader, read_volume

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.io.image import Image

__all__ = ["is_mgh", "mgh_frame_count", "read_mgh"]

HEADER_SIZE = 284
VERSION_1 = (1).to_bytes(4, "big")


def read_mgh(path: Path, *, frame: int | None = None, labels: bool = False) -> Image:
    """Read a volume, or one frame of a 4D one.

    Parameters
    ----------
    path : Path
        A ``.mgh``, ``.mgz`` or ``.mgh.gz`` file.
    frame : int, optional
        Which frame of a 4D image, from 0.
    labels : bool
        Read a mask.

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        If the file is damaged, empty, too large for memory or no image.
    """
    return read_volume(_open(path), frame=frame, labels=labels)


def mgh_frame_count(path: Path) -> int:
    """Count the frames: 1 unless 4D."""
    return _open(path).frame_count


def is_mgh(start: bytes) -> bool:
    """Tell an uncompressed MGH file by its first bytes: version 1, big-endian."""
    return start.startswith(VERSION_1)


def _open(path: Path) -> VolumeHeader:
    # Only the header goes through nibabel; what follows the voxels (command lines with
    # paths and names) is never read.
    from nibabel.freesurfer.mghformat import MGHError, MGHHeader

    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            raw = (gzip.GzipFile(fileobj=file) if packed else file).read(HEADER_SIZE)
        except (EOFError, OSError, zlib.error) as error:
            raise ImageError(
                f"{path} is truncated or damaged ({error}): copy it again."
            ) from error
    if len(raw) < HEADER_SIZE or not is_mgh(raw):
        raise ImageError(f"{path} is not an MGH image: its content is of another kind.")
    try:
        header = MGHHeader.from_fileobj(BytesIO(raw))
        dtype = np.dtype(header.get_data_dtype())
        sizes = [int(n) for n in header["dims"]]
        affine = np.array(header.get_affine(), dtype=np.float64)
    except (MGHError, ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{path} has a damaged MGH header: {error}.") from error
    if min(sizes) < 0:
        raise ImageError(f"{path} has a damaged MGH header: its shape is {sizes}.")
    stated = _states_directions(raw)
    name = path.name
    for suffix in (".gz", ".mgh", ".mgz"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return VolumeHeader(
        path=path,
        format="mgh",
        name=name,
        shape=tuple(sizes),
        dtype=dtype,
        space=(0, 1, 2),
        frames=3 if sizes[3] != 1 else None,
        affine=affine,
        data_path=path,
        offset=0 if packed else HEADER_SIZE,
        leading=HEADER_SIZE if packed else 0,
        encoding="gzip" if packed else "raw",
        assumed=not stated,
        notes=()
        if stated
        else ("The header states no orientation; one is assumed, as nibabel does.",),
    )


def _states_directions(raw: bytes) -> bool:
    """Read goodRASFlag; version, four sizes, type and degrees of freedom precede it."""
    return bool(np.frombuffer(raw, ">i2", 1, 28)[0])
