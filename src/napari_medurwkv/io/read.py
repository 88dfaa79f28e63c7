"""Read an image or a mask from whatever kind of file it is in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.nifti import nifti_frame_count, read_nifti
from napari_medurwkv.io.raster import read_raster
from napari_medurwkv.io.tiff import read_tiff, tiff_frame_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medurwkv.io.image import Image

__all__ = ["frame_count", "read_image", "read_labels", "supported_suffixes"]

Format = Literal["nifti", "raster", "tiff"]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
RASTER_SUFFIXES = (".png", ".jpg", ".jpeg")
TIFF_SUFFIXES = (".tif", ".tiff")


def supported_suffixes() -> tuple[str, ...]:
    """Return the endings of files that can be read, lower case, with their dot."""
    return NIFTI_SUFFIXES + RASTER_SUFFIXES + TIFF_SUFFIXES


def read_image(path: str | Path, *, frame: int | None = None) -> Image:
    """Read an image file into display order.

    Parameters
    ----------
    path : str or Path
        NIfTI (``.nii``, ``.nii.gz``), PNG, JPEG or TIFF. The content decides where it
        and the name disagree.
    frame : int, optional
        Which frame of a 4D image or of a time series, from 0.

    Returns
    -------
    Image
        With finite values; `Image.notes` says what was done to get them.

    Raises
    ------
    ImageError
        With one sentence, where the file is missing, damaged, empty, not an image, too
        large for memory, without finite values, or needs a frame.
    """
    return _read(Path(path), frame=frame, labels=False)


def read_labels(path: str | Path, *, frame: int | None = None) -> Image:
    """Read a mask file: whole numbers, palette indices instead of colours.

    Parameters
    ----------
    path : str or Path
        As `read_image`.
    frame : int, optional
        As `read_image`.

    Returns
    -------
    Image
        Its array is of an integer type.

    Raises
    ------
    ImageError
        As `read_image`, and where the file holds colours or fractions.
    """
    image = _read(Path(path), frame=frame, labels=True)
    return replace(image, array=_whole(image.array, Path(path)))


def frame_count(path: str | Path) -> int:
    """Count the frames of an image file: 1 unless it is 4D or a time series.

    Raises
    ------
    ImageError
        If the file is missing or no image that can be read.
    """
    file = Path(path)
    kind = _identify(file)
    if kind == "raster":
        return 1
    return nifti_frame_count(file) if kind == "nifti" else tiff_frame_count(file)


def _read(path: Path, *, frame: int | None, labels: bool) -> Image:
    kind = _identify(path)
    try:
        if kind == "nifti":
            return read_nifti(path, frame=frame)
        if kind == "tiff":
            return read_tiff(path, frame=frame, labels=labels)
        if frame not in (None, 0):
            raise ImageError(f"{path} has one frame only, so there is no {frame}.")
        return read_raster(path, labels=labels)
    except MemoryError as error:
        raise ImageError(
            f"{path} does not fit into memory: close other programs, or crop or "
            "downsample the image."
        ) from error
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read: {error.strerror or error}."
        ) from error


def _identify(path: Path) -> Format:
    """Tell the format by content first, by name where that says nothing."""
    if not path.exists():
        raise ImageError(f"{path} does not exist.")
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image: give one file in it.")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read: {error.strerror or error}."
        ) from error
    if start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return "raster"
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES) or start[:4] in (
        (348).to_bytes(4, "little"),
        (348).to_bytes(4, "big"),
        (540).to_bytes(4, "little"),
        (540).to_bytes(4, "big"),
    ):
        return "nifti"
    if not start:
        raise ImageError(f"{path} is empty: the file has no content.")
    known = ", ".join(supported_suffixes())
    if name.endswith(RASTER_SUFFIXES + TIFF_SUFFIXES):
        raise ImageError(
            f"{path} is not a {path.suffix} image: its content is of another kind."
        )
    raise ImageError(f"{path} is of a kind that cannot be read: known are {known}.")


def _whole(values: NDArray[Any], path: Path) -> NDArray[Any]:
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values
    whole = values.astype(np.int64)
    if not (whole == values).all():
        raise ImageError(f"{path} is not a mask: it holds fractions.")
    return whole
