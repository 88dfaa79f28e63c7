"""What NRRD, MetaImage and MGH have in common: a described block of numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from napari_medurwkv.errors import GeometryError, ImageError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io.image import Image, clean_values
from napari_medurwkv.io.payload import Encoding, read_payload

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VolumeHeader", "as_volume", "read_volume"]


@dataclass(frozen=True, slots=True)
class VolumeHeader:
    """A header that has been read: what the numbers are, and where they lie.

    Axes are counted as in the file's memory order, the fastest first.

    Parameters
    ----------
    path : Path
        The file that was opened.
    format : str
        For `SourceInfo`.
    name : str
        File name without its suffix.
    shape : tuple of int
        All axes.
    dtype : dtype
        With its byte order.
    space : tuple of int
        Which axes are space, 2 or 3 of them.
    affine : (4, 4) ndarray or None
        Index of the spatial axes to RAS mm; None where the file has no anatomy.
    spacing : tuple of float or None
        Of the spatial axes, where there is no affine.
    unit : str
        Of `spacing`.
    colour, frames : int or None
        Which axis is colour, which counts frames.
    data_path : Path
        Where the numbers are.
    offset : int
        From which byte on.
    encoding : Encoding
        How they are packed.
    leading : int
        Bytes before them, packed likewise.
    assumed : bool
        Whether the affine's directions were not stated.
    notes : tuple of str
        What the user should know.
    """

    path: Path
    format: Literal["nrrd", "metaimage", "mgh"]
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    space: tuple[int, ...]
    affine: NDArray[np.float64] | None
    data_path: Path
    spacing: tuple[float, ...] | None = None
    unit: str = "mm"
    colour: int | None = None
    frames: int | None = None
    offset: int = 0
    encoding: Encoding = "raw"
    leading: int = 0
    assumed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def frame_count(self) -> int:
        """Number of frames, 1 where no axis counts them."""
        return 1 if self.frames is None else self.shape[self.frames]


def read_volume(
    header: VolumeHeader, *, frame: int | None = None, labels: bool = False
) -> Image:
    """Read the numbers that a header describes.

    Parameters
    ----------
    header : VolumeHeader
        Of the file.
    frame : int, optional
        Which frame, from 0, where the file has several.
    labels : bool
        Read a mask: colours are refused.

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        If the file is empty, truncated, damaged, too large for memory, needs a frame
        and got none, or does not say where its voxels are.
    """
    path = header.path
    if not header.shape or 0 in header.shape:
        raise ImageError(f"{path} is empty: its shape is {header.shape}.")
    if labels and header.colour is not None:
        raise ImageError(
            f"{path} is a colour picture, not a mask: a mask has one value per voxel."
        )
    chosen = _choose_frame(header, frame)
    geometry = _geometry(header, chosen)
    values = _values(header, chosen)
    rgb = header.colour is not None
    notes = header.notes
    if rgb and values.shape[-1] == 4:
        values = values[..., :3]
        notes += ("The transparency (fourth channel) of the image is ignored.",)
    if not labels:
        values, replaced = clean_values(values, str(path))
        notes += replaced
    elif not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if geometry.kind != "patient":
        # Without anatomy rows come first, as in every picture.
        axes = tuple(range(geometry.ndim))
        values = values.transpose(*reversed(axes), *range(geometry.ndim, values.ndim))
    return Image(geometry.to_display(values), geometry, rgb, header.name, notes)


def as_volume(
    array: NDArray[Any], affine: NDArray[np.float64], geometry: Geometry
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Lay a source array out with three axes, as its file has them.

    Parameters
    ----------
    array : ndarray
        In the source's order, 2 or 3 axes.
    affine : (4, 4) ndarray
        Its index to any world; the third column of a plane is its normal.
    geometry : Geometry
        Of the image.

    Returns
    -------
    array : (I, J, K) ndarray
        A view. A plane's single axis is where the image's file has it, else last.
    affine : (4, 4) ndarray
        Of these axes.
    """
    if array.ndim == 3:
        return array, affine
    single = _single_axis(geometry)
    order = [0, 1]
    order.insert(single, 2)
    view = array.reshape((*array.shape[:single], 1, *array.shape[single:]))
    return view, affine[:, [*order, 3]]


def _single_axis(geometry: Geometry) -> int:
    """Say which of a file's three axes of space has the one slice; 2 if not known."""
    source = geometry.source
    stored = source.shape or ()
    # The axes of NRRD come in any order, so that of four the frames cannot be told.
    most = 3 if source.format == "nrrd" else 4
    formats = ("nifti", "nrrd", "metaimage", "mgh")
    if geometry.kind != "patient" or source.format not in formats:
        return 2
    if not 3 <= len(stored) <= most or 1 not in stored[:3]:
        return 2
    single = max(axis for axis in range(3) if stored[axis] == 1)
    rest = tuple(n for axis, n in enumerate(stored[:3]) if axis != single)
    return single if rest == geometry.shape else 2


def _choose_frame(header: VolumeHeader, frame: int | None) -> int | None:
    count = header.frame_count
    if frame is None and count > 1:
        raise ImageError(
            f"{header.path} has {count} frames: say which one to take, 0 to "
            f"{count - 1}, with the option frame (--frame)."
        )
    if frame is not None and not 0 <= frame < count:
        raise ImageError(
            f"{header.path} has no frame {frame}: its frames are 0 to {count - 1}."
        )
    return frame if count > 1 else None


def _values(header: VolumeHeader, frame: int | None) -> NDArray[Any]:
    """Read (spatial axes, colour), singletons of a single slice left out."""
    shape, skip = header.shape, 0
    whole = list(range(len(shape)))
    last = len(shape) - 1
    if frame is not None and header.frames == last:
        skip = frame * prod(shape[:last])
        shape, whole = shape[:last], whole[:last]
    flat = read_payload(
        header.data_path,
        header.dtype,
        prod(shape),
        offset=header.offset,
        encoding=header.encoding,
        skip=skip * header.dtype.itemsize + header.leading,
    )
    values = flat.reshape(shape, order="F")
    if header.frames in whole:
        index = whole.index(header.frames)
        values = values.take(frame or 0, axis=index)
        whole.remove(header.frames)
    wanted = [*_plane_axes(header)]
    if header.colour is not None:
        wanted.append(header.colour)
    for axis in [axis for axis in whole if axis not in wanted]:
        values = values.squeeze(axis=whole.index(axis))
        whole.remove(axis)
    return values.transpose([whole.index(axis) for axis in wanted])


def _plane_axes(header: VolumeHeader) -> tuple[int, ...]:
    """Spatial axes; a single slice's own axis is left out."""
    single = [axis for axis in header.space if header.shape[axis] == 1]
    if len(header.space) < 3 or not single:
        return header.space
    return tuple(axis for axis in header.space if axis != single[-1])


def _geometry(header: VolumeHeader, frame: int | None) -> Geometry:
    axes = _plane_axes(header)
    shape = tuple(header.shape[axis] for axis in axes)
    stored = tuple(
        n for axis, n in enumerate(header.shape) if axis not in (header.colour,)
    )
    source = SourceInfo(
        header.format, str(header.path.absolute()), shape=stored, frame=frame
    )
    try:
        if header.affine is None:
            spacing = header.spacing
            if spacing is not None:
                spacing = tuple(spacing[header.space.index(axis)] for axis in axes)
                spacing = tuple(reversed(spacing))
            source = replace(source, shape=tuple(reversed(stored)))
            return Geometry.plain(
                tuple(reversed(shape)), spacing, header.unit, source=source
            )
        order = [header.space.index(axis) for axis in axes]
        # The plane's normal comes last, wherever the single slice's axis was.
        order += [axis for axis in range(3) if axis not in order]
        return Geometry.from_affine(
            header.affine[:, [*order, 3]], shape, source=source, assumed=header.assumed
        )
    except GeometryError as error:
        raise ImageError(
            f"{header.path} does not say where its voxels are ({error}): repair its "
            "header."
        ) from error
