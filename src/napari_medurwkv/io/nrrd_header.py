"""The header of an NRRD file, attached (.nrrd) or detached (.nhdr)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.payload import Encoding, beside
from napari_medurwkv.io.volume import VolumeHeader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["NrrdFile", "open_nrrd"]

# Segmentations of hundreds of classes stay far below.
LONGEST_HEADER = 1 << 24

_TO_RAS = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
}
_ABBREVIATED = {"RAS": "right-anterior-superior", "LAS": "left-anterior-superior"}
_ABBREVIATED["LPS"] = "left-posterior-superior"
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "text": "text",
    "txt": "text",
    "ascii": "text",
}
_COLOUR_KINDS = ("rgb-color", "rgba-color", "3-color", "4-color")
_SPACE_KINDS = ("domain", "space")
_MM = {"mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "cm": 10.0, "m": 1e3}
_MM |= {"nm": 1e-6, "millimeter": 1.0, "millimeters": 1.0, "micron": 1e-3}
_MM |= {"microns": 1e-3, "micrometer": 1e-3, "micrometers": 1e-3}


@dataclass(frozen=True, slots=True)
class NrrdFile:
    """An NRRD file whose header has been read.

    Attributes
    ----------
    volume : VolumeHeader
        What and where its numbers are.
    fields : mapping
        All fields and key/value pairs, as pynrrd tells them.
    """

    volume: VolumeHeader
    fields: Mapping[str, Any]


def open_nrrd(path: Path) -> NrrdFile:
    """Read and check a header; no voxel is touched.

    Parameters
    ----------
    path : Path
        A ``.nrrd`` or ``.nhdr`` file.

    Returns
    -------
    NrrdFile

    Raises
    ------
    ImageError
        If the header is damaged, or describes what cannot be read.
    """
    fields, end = _parse(path)
    shape = tuple(int(n) for n in fields["sizes"])
    if min(shape, default=0) < 0 or len(shape) != fields["dimension"]:
        raise ImageError(f"{path} has a damaged header: its sizes are {shape}.")
    data_path, offset = _where(path, fields, end)
    kinds = [str(kind).lower() for kind in fields.get("kinds", ["???"] * len(shape))]
    if len(kinds) != len(shape):
        raise ImageError(f"{path} has a damaged header: {len(kinds)} kinds of axes.")
    directions = _directions(path, fields, len(shape))
    space, colour, frames = _axes(path, shape, kinds, directions, fields)
    volume = VolumeHeader(
        path=path,
        format="nrrd",
        name=_name(path),
        shape=shape,
        dtype=_dtype(path, fields),
        space=space,
        colour=colour,
        frames=frames,
        data_path=data_path,
        offset=offset,
        encoding=_ENCODINGS[str(fields["encoding"]).lower()],
        **_place(path, fields, directions, space),
    )
    return NrrdFile(volume, fields)


def _parse(path: Path) -> tuple[dict[str, Any], int]:
    """Read the fields, and where the header ends."""
    import nrrd

    with path.open("rb") as stream:
        start = stream.read(LONGEST_HEADER)
    if not start.startswith(b"NRRD"):
        raise ImageError(
            f"{path} is not an NRRD image: its content is of another kind."
        )
    ends = [
        (at, at + len(mark))
        for mark in (b"\n\n", b"\r\n\r\n")
        if (at := start.find(mark)) >= 0
    ]
    stop, end = min(ends, default=(len(start), len(start)))
    # Decoded here: pynrrd drops every letter that is not ASCII.
    lines = start[:stop].decode("utf-8", "replace").splitlines()
    try:
        fields = dict(nrrd.read_header(lines))
        missing = {"dimension", "type", "encoding", "sizes"} - fields.keys()
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        if str(fields["encoding"]).lower() not in _ENCODINGS:
            raise ValueError(f"its encoding {fields['encoding']} is unknown")
    except Exception as error:  # its parsers raise anything on a damaged line
        raise ImageError(f"{path} has a damaged NRRD header: {error}.") from error
    return fields, end


def _where(path: Path, fields: Mapping[str, Any], end: int) -> tuple[Path, int]:
    """Find the file and the byte at which the data begin."""
    detached = fields.get("data file", fields.get("datafile"))
    line_skip = int(fields.get("line skip", fields.get("lineskip", 0)))
    byte_skip = int(fields.get("byte skip", fields.get("byteskip", 0)))
    if line_skip or byte_skip < 0:
        raise ImageError(
            f"{path} leaves out a part of its data file (line or byte skip): convert "
            "it to an NRRD file with attached data."
        )
    if detached is None:
        return path, end + byte_skip
    name = str(detached)
    if name.upper().startswith("LIST") or "%" in name:
        raise ImageError(
            f"{path} is spread over several data files: convert it to one NRRD file."
        )
    return beside(path, name), byte_skip


def _dtype(path: Path, fields: Mapping[str, Any]) -> np.dtype[Any]:
    from nrrd.reader import _TYPEMAP_NRRD2NUMPY as TYPES

    code = TYPES.get(str(fields["type"]))
    if code is None or code == "V":
        raise ImageError(
            f"{path} holds {fields['type']} values, not numbers: convert it."
        )
    order = {"little": "<", "big": ">"}.get(str(fields.get("endian", "")).lower(), "=")
    return np.dtype(f"{order}{code}")


def _directions(
    path: Path, fields: Mapping[str, Any], dimension: int
) -> NDArray[np.float64] | None:
    """(axes, space) vectors; not finite for an axis that is no space."""
    stated = fields.get("space directions")
    if stated is None:
        return None
    rows = [np.atleast_1d(np.asarray(row, dtype=np.float64)) for row in stated]
    width = max((row.size for row in rows), default=0)
    filled = [row if row.size == width else np.full(width, np.nan) for row in rows]
    if len(filled) != dimension or width not in (2, 3, 4):
        raise ImageError(
            f"{path} has a damaged NRRD header: its space directions do not fit its "
            f"{dimension} axes."
        )
    return np.array(filled)


def _axes(
    path: Path,
    shape: tuple[int, ...],
    kinds: Sequence[str],
    directions: NDArray[np.float64] | None,
    fields: Mapping[str, Any],
) -> tuple[tuple[int, ...], int | None, int | None]:
    """Say which axes are space, which is colour, which counts frames."""
    if directions is not None:
        sound = np.isfinite(directions).all(axis=1)
        if directions.shape[1] == 4:  # the fourth coordinate is time
            sound &= np.abs(np.nan_to_num(directions[:, :3])).sum(axis=1) > 0
        space = tuple(int(axis) for axis in np.flatnonzero(sound))
    else:
        space = tuple(
            axis
            for axis, kind in enumerate(kinds)
            if kind in _SPACE_KINDS or kind.startswith("?")
        )
        sizes = fields.get("spacings")
        if sizes is not None and len(sizes) == len(shape):
            space = tuple(axis for axis in space if np.isfinite(sizes[axis]))
        space = space[:3]  # of four axes without a word the last is time
    rest = [axis for axis in range(len(shape)) if axis not in space]
    colour = next((axis for axis in rest if _is_colour(axis, shape, kinds)), None)
    rest = [axis for axis in rest if axis != colour and shape[axis] != 1]
    if len(space) not in (2, 3) or len(rest) > 1:
        raise ImageError(
            f"{path} has axes of the kinds {', '.join(kinds)} and shape {shape}: save "
            "the 2D or 3D image that is to be segmented on its own."
        )
    frames = rest[0] if rest else None
    if frames is not None and kinds[frames] in ("complex", "quaternion"):
        raise ImageError(f"{path} holds {kinds[frames]} numbers, not real ones.")
    return space, colour, frames


def _is_colour(axis: int, shape: tuple[int, ...], kinds: Sequence[str]) -> bool:
    if kinds[axis] in _COLOUR_KINDS:
        return shape[axis] in (3, 4)
    # ITK names the channels of colour images so.
    return kinds[axis] in ("vector", "3-vector") and shape[axis] == 3 and axis == 0


def _place(
    path: Path,
    fields: Mapping[str, Any],
    directions: NDArray[np.float64] | None,
    space: tuple[int, ...],
) -> dict[str, Any]:
    """Build the affine, or the spacing where there is no anatomy."""
    factor, units_note = _to_mm(fields, space)
    if directions is None:
        stated = fields.get("spacings")
        sizes = [1.0] * len(space)
        if stated is not None:
            sizes = [abs(float(stated[axis])) * factor for axis in space]
        sizes = [size if 0 < size < np.inf else 1.0 for size in sizes]
        if len(space) == 2:
            return {
                "affine": None,
                "spacing": tuple(sizes) if stated is not None else None,
                "notes": units_note,
            }
        affine = np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])
        notes = ("The header states no orientation; one is assumed.", *units_note)
        return {"affine": affine, "assumed": True, "notes": notes}
    named = str(fields.get("space", ""))
    named = _ABBREVIATED.get(named.upper(), named.lower()).removesuffix("-time")
    signs = _TO_RAS.get(named)
    assumed, notes = signs is None, units_note
    if signs is None:
        notes += ("The header names no anatomical space; LPS is assumed, as ITK does.",)
    vectors = directions[list(space)] * factor
    coordinates = min(vectors.shape[1], 3)
    if coordinates == 2:
        # A plane's own space, which ITK takes for an axial slice of the body at 0.
        vectors = np.hstack([vectors, np.zeros((len(space), 1))])
        if signs is not None:
            assumed = True
            notes += (
                f"The header gives two coordinates in the space {fields['space']}, "
                "which has three; 0 is assumed for the third.",
            )
    affine = np.eye(4)
    if len(space) == 2:
        normal = np.cross(vectors[0, :3], vectors[1, :3])
        length = float(np.linalg.norm(normal))
        vectors = np.vstack([vectors[:, :3], normal / length if length else normal])
        if coordinates == 2:  # not turned over for a mirrored plane, as in ITK
            vectors[2] = (0.0, 0.0, 1.0)
    affine[:3, :3] = vectors[:, :3].T
    origin = np.asarray(fields.get("space origin", np.nan), dtype=np.float64)
    if origin.size < coordinates or not np.isfinite(origin[:coordinates]).all():
        origin = np.zeros(coordinates)
        notes += ("The header states no origin; 0 is assumed.",)
    affine[:coordinates, 3] = origin[:coordinates] * factor
    to_ras = np.diag([*(signs or _TO_RAS["left-posterior-superior"]), 1.0])
    return {"affine": to_ras @ affine, "assumed": assumed, "notes": notes}


def _to_mm(
    fields: Mapping[str, Any], space: tuple[int, ...]
) -> tuple[float, tuple[str, ...]]:
    stated = fields.get("space units") or fields.get("units") or ()
    names = {str(name).strip().lower() for name in stated} - {"", "???"}
    factors = {_MM[name] for name in names if name in _MM}
    if len(factors) != 1 or factors == {1.0}:
        return 1.0, ()
    unit = next(iter(names & _MM.keys()))
    return factors.pop(), (f"The header counts in {unit}; sizes are shown in mm.",)


def _name(path: Path) -> str:
    name = path.name
    for suffix in (".nrrd", ".nhdr", ".seg"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name
