"""Read an image or a mask from whatever kind of file it is in."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.axes import AxesChoice
from napari_medurwkv.io.dicom import (
    dicom_frame_count,
    is_dicom_segmentation,
    read_dicom,
)
from napari_medurwkv.io.identify import identify, supported_suffixes
from napari_medurwkv.io.label_names import names_beside
from napari_medurwkv.io.metaimage import metaimage_frame_count, read_metaimage
from napari_medurwkv.io.mgh import mgh_frame_count, read_mgh
from napari_medurwkv.io.nifti import (
    is_nifti_label,
    nifti_frame_count,
    read_nifti,
)
from napari_medurwkv.io.nrrd import (
    is_nrrd_segmentation,
    nrrd_frame_count,
    read_nrrd,
)
from napari_medurwkv.io.raster import read_raster
from napari_medurwkv.io.tiff import read_tiff, tiff_frame_count
from napari_medurwkv.io.zarr_image import (
    is_zarr_label,
    read_zarr,
    zarr_frame_count,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medurwkv.io.image import Image

__all__ = [
    "frame_count",
    "is_label_file",
    "read_image",
    "read_labels",
    "supported_suffixes",
]

# Less than this is measured as noise of the header's decimals.
OBLIQUE_DEGREES = 1.0


def read_image(
    path: str | Path,
    *,
    frame: int | None = None,
    series: str | int | None = None,
    approximate: bool = False,
    axes: str | None = None,
    channels: str | None = None,
) -> Image:
    """Read an image file, or a folder with a DICOM series, into display order.

    Parameters
    ----------
    path : str or Path
        One of `supported_suffixes`, or a folder. The content decides where it and the
        name disagree.
    frame : int, optional
        Which frame of a 4D image or of a time series, from 0.
    series : str or int, optional
        Of a folder with several DICOM images: which one, by its number in the error's
        list, or by its series instance UID.
    approximate : bool
        Load DICOM slices although some are missing, uneven or tilted. The geometry is
        then marked as approximate, here and in every file that is made of it.
    axes : str, optional
        Of a TIFF file that does not say it itself: what its axes are, such as "TCZYX".
    channels : str, optional
        Of a TIFF file or OME-Zarr: which channels, by their numbers from 0, in the
        order of the model's channels, such as "2,0".

    Returns
    -------
    Image
        With finite values; `Image.notes` says what was done to get them.

    Raises
    ------
    ImageError
        With one sentence, where the file is missing, damaged, empty, not an image, too
        large for memory, without finite values, or needs a frame.
    SeriesChoiceError
        An ImageError: the folder holds several images.
    ApproximateGeometryError
        An ImageError: the slices are on no regular grid.
    """
    choice = AxesChoice(axes, channels)
    options = _Options(frame, series, approximate, labels=False, choice=choice)
    image = _read(Path(path), options)
    if choice.given:
        said = f"Axes {axes or 'as stored'}, channels {channels or 'all'} were taken."
        image = replace(image, notes=(*image.notes, said))
    if not image.geometry.is_oblique(OBLIQUE_DEGREES):
        return image
    note = (
        f"The image is oblique by {image.geometry.obliquity:.0f} degrees: it is shown "
        "upright, and saved masks keep its true position."
    )
    return replace(image, notes=(*image.notes, note))


def read_labels(
    path: str | Path,
    *,
    frame: int | None = None,
    series: str | int | None = None,
    approximate: bool = False,
) -> Image:
    """Read a mask file: whole numbers, palette indices instead of colours.

    Parameters
    ----------
    path : str or Path
        As `read_image`.
    frame : int, optional
        As `read_image`; of a segmentation with overlapping segments, the layer.
    series, approximate
        As `read_image`.

    Returns
    -------
    Image
        Its array is of an integer type; `Image.classes` has the names and colours that
        the file, or one beside it, states.

    Raises
    ------
    ImageError
        As `read_image`, and where the file holds colours or fractions.
    """
    file = Path(path)
    image = _read(file, _Options(frame, series, approximate, labels=True))
    return replace(
        image,
        array=_whole(image.array, file),
        classes=image.classes or names_beside(file),
    )


def is_label_file(path: str | Path, *, series: str | int | None = None) -> bool:
    """Tell whether a file says that it is a mask: by its header or by names beside it.

    Parameters
    ----------
    path : str or Path
        As `read_image`.
    series : str or int, optional
        As `read_image`.

    Raises
    ------
    ImageError
        If the file is missing or no image that can be read.
    """
    file = Path(path)
    kind = identify(file)
    with _in_words(file):
        if kind == "nrrd" and is_nrrd_segmentation(file):
            return True
        if kind == "nifti" and is_nifti_label(file):
            return True
        if kind == "dicom":
            return is_dicom_segmentation(file, series=series)
        if kind == "zarr":
            return is_zarr_label(file)
    return file.is_file() and bool(names_beside(file))


def frame_count(
    path: str | Path,
    *,
    series: str | int | None = None,
    axes: str | None = None,
    channels: str | None = None,
) -> int:
    """Count the frames of an image file: 1 unless it is 4D or a time series.

    Parameters
    ----------
    path : str or Path
        As `read_image`.
    series, axes, channels
        As `read_image`.

    Raises
    ------
    ImageError
        If the file is missing or no image that can be read.
    """
    file = Path(path)
    kind = identify(file)
    choice = AxesChoice(axes, channels)
    if choice.given and kind == "tiff":
        with _in_words(file):
            return tiff_frame_count(file, choice)
    counts = {
        "nifti": nifti_frame_count,
        "nrrd": nrrd_frame_count,
        "metaimage": metaimage_frame_count,
        "mgh": mgh_frame_count,
        "tiff": tiff_frame_count,
        "zarr": zarr_frame_count,
    }
    with _in_words(file):
        if kind == "dicom":
            return dicom_frame_count(file, series=series)
        count = counts.get(kind)
        return 1 if count is None else count(file)


@dataclass(frozen=True, slots=True)
class _Options:
    frame: int | None
    series: str | int | None
    approximate: bool
    labels: bool
    choice: AxesChoice = AxesChoice()  # noqa: RUF009 - it is frozen


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into sentences."""
    try:
        yield
    except MemoryError as error:
        raise ImageError(
            f"{path} does not fit into memory: close other programs, or crop or "
            "downsample the image."
        ) from error
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read: {error.strerror or error}."
        ) from error


def _read(path: Path, options: _Options) -> Image:
    kind = identify(path)
    frame, labels, choice = options.frame, options.labels, options.choice
    if choice.axes is not None and kind != "tiff":
        raise ImageError(
            f"{path} says itself what its axes are: leave the option axes out."
        )
    if choice.channels is not None and kind not in ("tiff", "zarr"):
        raise ImageError(f"{path} has no channels to choose from: leave them out.")
    with _in_words(path):
        if kind == "dicom":
            return read_dicom(
                path,
                frame=frame,
                series=options.series,
                approximate=options.approximate,
                labels=labels,
            )
        if options.series is not None:
            raise ImageError(f"{path} is one image: leave the option series out.")
        if kind == "zarr":
            return read_zarr(path, frame=frame, labels=labels, channels=choice.channels)
        if kind == "nifti":
            return read_nifti(path, frame=frame)
        if kind == "tiff":
            return read_tiff(path, frame=frame, labels=labels, choice=choice)
        if kind == "nrrd":
            return read_nrrd(path, frame=frame, labels=labels)
        if kind == "metaimage":
            return read_metaimage(path, frame=frame, labels=labels)
        if kind == "mgh":
            return read_mgh(path, frame=frame, labels=labels)
        if frame not in (None, 0):
            raise ImageError(f"{path} has one frame only, so there is no {frame}.")
        return read_raster(path, labels=labels)


def _whole(values: NDArray[Any], path: Path) -> NDArray[Any]:
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values
    with np.errstate(invalid="ignore"):  # NaN and infinities are found right after
        whole = values.astype(np.int64)
    if not (whole == values).all():
        raise ImageError(f"{path} is not a mask: it holds fractions.")
    return whole
