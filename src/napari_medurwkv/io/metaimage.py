"""MetaImage (.mha, and .mhd with its data beside it): read an image or a mask.

The header is a page of text, so no library is asked: the only one in Python, SimpleITK,
weighs 260 MB and allocates whatever a header claims. Tests compare with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.payload import beside
from napari_medurwkv.io.volume import VolumeHeader, read_volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.io.image import Image

__all__ = ["is_metaimage", "metaimage_frame_count", "read_metaimage"]

LONGEST_HEADER = 1 << 18
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# MetaIO's LONG has four bytes on every machine.
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MM = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1e3}


def read_metaimage(
    path: Path, *, frame: int | None = None, labels: bool = False
) -> Image:
    """Read a 2D or 3D image, or one frame of a 4D one.

    Parameters
    ----------
    path : Path
        A ``.mha`` or ``.mhd`` file.
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


def metaimage_frame_count(path: Path) -> int:
    """Count the frames: 1 unless 4D."""
    return _open(path).frame_count


def is_metaimage(start: bytes) -> bool:
    """Tell a MetaImage by its first bytes."""
    first = start.lstrip().split(b"\n")[0]
    key = first.split(b"=")[0].strip()
    return b"=" in first and key in (b"ObjectType", b"NDims", b"Comment")


def _open(path: Path) -> VolumeHeader:
    fields, end = _parse(path)
    try:
        return _describe(path, fields, end)
    except (KeyError, ValueError, TypeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise ImageError(f"{path} has a damaged MetaImage header: {what}.") from error


def _parse(path: Path) -> tuple[dict[str, str], int]:
    """Read "key = value" lines up to the one that names the data."""
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        while stream.tell() < LONGEST_HEADER:
            line = stream.readline(LONGEST_HEADER)
            key, equals, value = line.decode("utf-8", "replace").partition("=")
            if not equals:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return fields, stream.tell()
    raise ImageError(
        f"{path} is not a MetaImage, or is truncated: its header names no data."
    )


def _describe(path: Path, fields: Mapping[str, str], end: int) -> VolumeHeader:
    dimension = int(fields["NDims"])
    shape = tuple(int(word) for word in fields["DimSize"].split())
    channels = int(fields.get("ElementNumberOfChannels", 1))
    kind = fields["ElementType"].removesuffix("_ARRAY")
    if len(shape) != dimension or min(shape, default=0) < 0 or channels < 1:
        raise ValueError(f"its DimSize is {shape} in {dimension} dimensions")
    if not 2 <= dimension <= 4:
        raise ImageError(f"{path} has {dimension} axes: 2, 3 or 4 can be read.")
    if kind not in _TYPES:
        raise ImageError(f"{path} holds {kind} values, not numbers: convert it.")
    if not _yes(fields.get("BinaryData", "True")):
        raise ImageError(f"{path} is stored as text: save it as binary data.")
    if channels not in (1, 3, 4):
        raise ImageError(
            f"{path} has {channels} values per voxel: save the one that is to be "
            "segmented as its own image."
        )
    big = _yes(
        fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    )
    dtype = np.dtype(f"{'>' if big else '<'}{_TYPES[kind]}")
    full = shape if channels == 1 else (channels, *shape)
    first = len(full) - dimension  # channels come first in memory
    spatial = tuple(range(first, first + min(dimension, 3)))
    data_path, offset = _where(path, fields, end, full, dtype)
    return VolumeHeader(
        path=path,
        format="metaimage",
        name=path.stem,
        shape=full,
        dtype=dtype,
        space=spatial,
        colour=0 if channels > 1 else None,
        frames=len(full) - 1 if dimension == 4 else None,
        data_path=data_path,
        offset=offset,
        encoding="gzip" if _yes(fields.get("CompressedData", "False")) else "raw",
        **_place(fields, dimension),
    )


def _where(
    path: Path,
    fields: Mapping[str, str],
    end: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> tuple[Path, int]:
    name = fields["ElementDataFile"]
    if name.upper() == "LOCAL":
        return path, end
    if name.upper().startswith("LIST") or "%" in name:
        raise ImageError(
            f"{path} is spread over several data files: convert it to one .mha file."
        )
    data = beside(path, name)
    offset = int(fields.get("HeaderSize", 0))
    if offset == -1:  # whatever comes before: the voxels are the file's end
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        offset = max(data.stat().st_size - size, 0)
    return data, offset


def _place(fields: Mapping[str, str], dimension: int) -> dict[str, Any]:
    factor = _MM.get(fields.get("DistanceUnits", "mm").lower(), 1.0)
    stated = fields.get("ElementSpacing", fields.get("ElementSize"))
    sizes = _numbers(stated, dimension) if stated else np.ones(dimension)
    sizes = np.abs(sizes) * factor
    if not (np.isfinite(sizes).all() and (sizes[:3] > 0).all()):
        raise ValueError(f"its spacing is {stated}")
    turned = _first(fields, "TransformMatrix", "Rotation", "Orientation")
    origin = _first(fields, "Offset", "Position", "Origin")
    if dimension == 2 and turned is None and origin is None:
        return {"affine": None, "spacing": tuple(sizes) if stated else None}
    # Of a plane in its own two coordinates the third axis stays that of the world: ITK
    # takes it for an axial slice of the body at 0.
    space = min(dimension, 3)
    directions = np.eye(3)
    if turned is not None:
        # Row by row the direction of each axis.
        rows = _numbers(turned, dimension**2).reshape(dimension, dimension)
        directions[:space, :space] = rows[:space, :space].T
    affine = np.eye(4)
    affine[:3, :3] = directions
    affine[:3, :space] *= sizes[:space]
    if origin is not None:
        affine[:space, 3] = _numbers(origin, dimension)[:space] * factor
    notes = () if turned else ("The header states no orientation; one is assumed.",)
    return {
        "affine": LPS_TO_RAS @ affine,
        "assumed": turned is None,
        "notes": notes,
    }


def _first(fields: Mapping[str, str], *names: str) -> str | None:
    return next((fields[name] for name in names if fields.get(name)), None)


def _numbers(text: str, count: int) -> NDArray[np.float64]:
    values = np.array([float(word) for word in text.split()])
    if values.size != count or not np.isfinite(values).all():
        raise ValueError(f"{count} numbers were expected, not {text!r}")
    return values


def _yes(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes")
