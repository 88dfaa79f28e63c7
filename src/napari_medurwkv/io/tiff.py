"""TIFF: read 2D images and stacks, write masks with their pixel size."""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io.axes import AxesChoice, read_axes
from napari_medurwkv.io.image import Image, clean_values
from napari_medurwkv.io.limits import check_claim
from napari_medurwkv.io.pixel_size import imagej_size, ome_size, resolution_size
from napari_medurwkv.io.raster import EXIF_ORNT, ORIENTATION_TAG, raster_order
from napari_medurwkv.io.tiff_pages import check_pages

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

__all__ = ["read_tiff", "tiff_frame_count", "write_tiff"]

# Photometric interpretations (TIFF 6.0) that are treated apart.
WHITE_IS_ZERO, PALETTE, SEPARATED, CIELAB = 0, 3, 5, 8

# Values of the tag ResolutionUnit.
INCH, CENTIMETRE = 2, 3


NOTHING_SAID = AxesChoice()


@dataclass(frozen=True, slots=True)
class TiffAxes:
    """How the axes of a TIFF series are used: positions in its shape, or None."""

    shape: tuple[int, ...]
    stack: int | None
    time: int | None
    colour: int | None

    @property
    def frames(self) -> int:
        """Number of time points."""
        return 1 if self.time is None else self.shape[self.time]


def read_tiff(
    path: Path,
    *,
    frame: int | None = None,
    labels: bool = False,
    choice: AxesChoice = NOTHING_SAID,
) -> Image:
    """Read the first image of a TIFF file: 2D, or a stack of pages as 3D.

    Parameters
    ----------
    path : Path
        The file; ImageJ's and OME's descriptions of axes and sizes are understood.
    frame : int, optional
        Which time point, from 0, where the file has several.
    labels : bool
        Read a mask: the indices of a palette rather than its colours.
    choice : AxesChoice
        What the axes are, where the file does not say so, and which channels count.

    Returns
    -------
    Image
        In the file's number type; alpha is dropped, "white is zero" inverted.

    Raises
    ------
    ImageError
        If the file is damaged, too large for memory, has several channels, is in print
        colours (CMYK), or needs a frame and got none.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series, axes = _axes(path, file, choice)
            chosen = _choose_frame(path, axes.frames, frame)
            check_claim(path, series.nbytes, ratio=None)
            if choice.given:
                time = 0 if chosen is None and axes.time is not None else chosen
                stored = series.asarray()
                values = choice.view(stored, series.axes, time, str(path))[:]
            else:
                values = _values(path, file, series, axes, chosen)
            values, notes = _meaning(path, series, values, axes, labels)
            spacing, unit, said = _spacing(file, series, axes)
            orientation = _orientation(series.keyframe)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders of hostile files raise anything
        raise ImageError(
            f"{path} is truncated or damaged ({_why(error)}): copy it again."
        ) from error
    rgb = values.ndim == 3 + (axes.stack is not None)
    if not labels:
        values, replaced = clean_values(values, str(path))
        notes += replaced
    shape = values.shape[:-1] if rgb else values.shape
    turned: tuple[tuple[int, int], ...] = EXIF_ORNT[orientation]
    if len(shape) == 3:
        turned = ((0, 1), *((axis + 1, sign) for axis, sign in turned))
    geometry = Geometry.plain(
        shape,
        spacing,
        unit,
        ornt=turned,
        source=SourceInfo(
            format="tiff",
            path=str(path.absolute()),
            shape=axes.shape,
            frame=chosen,
            exif_orientation=orientation,
        ),
    )
    name = re.sub(r"(\.ome)?\.tiff?$", "", path.name, flags=re.IGNORECASE)
    return Image(geometry.to_display(values), geometry, rgb, name, notes + said)


def tiff_frame_count(path: Path, choice: AxesChoice = NOTHING_SAID) -> int:
    """Count the time points of a TIFF file.

    Parameters
    ----------
    path : Path
        The file.
    choice : AxesChoice
        As for `read_tiff`.

    Raises
    ------
    ImageError
        If the file is no TIFF file that can be read.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return _axes(path, file, choice)[1].frames
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders of hostile files raise anything
        raise ImageError(
            f"{path} is truncated or damaged ({_why(error)}): copy it again."
        ) from error


def write_tiff(path: Path, labels: NDArray[Any], geometry: Geometry) -> None:
    """Write a mask as compressed OME-TIFF with the image's pixel size.

    Parameters
    ----------
    path : Path
        Ends in ``.tif`` or ``.tiff``.
    labels : ndarray of unsigned integers
        In display order of `geometry`.
    geometry : Geometry
        Of the image that was segmented.
    """
    import tifffile

    pixels, spacing = raster_order(labels, geometry)
    pixels = np.ascontiguousarray(pixels)
    axes = "ZYX"[-pixels.ndim :]
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    metadata: dict[str, Any] = {
        "axes": axes,
        # Of the content: equal masks are equal files, and no machine is named.
        "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, digest)),
        "Creator": "napari-medurwkv",
    }
    options: dict[str, Any] = {}
    if geometry.mm_per_unit:
        unit = "µm" if geometry.unit == "um" else geometry.unit
        for axis, size in zip(axes, spacing, strict=True):
            metadata[f"PhysicalSize{axis}"] = size
            metadata[f"PhysicalSize{axis}Unit"] = unit
        per_cm = [10 / (size * geometry.mm_per_unit) for size in spacing[-2:]]
        options = {
            "resolution": (per_cm[1], per_cm[0]),
            "resolutionunit": "CENTIMETER",
        }
    orientation = geometry.source.exif_orientation
    if orientation != 1 and geometry.kind != "patient":
        options["extratags"] = [(ORIENTATION_TAG, "H", 1, orientation, True)]
    tifffile.imwrite(
        path,
        pixels,
        ome=True,
        photometric="minisblack",
        compression="zlib",
        metadata=metadata,
        **options,
    )


def _axes(
    path: Path, file: TiffFile, choice: AxesChoice
) -> tuple[TiffPageSeries, TiffAxes]:
    """Say what each axis of the file's first series is."""
    check_pages(path, file)
    if not file.series:
        raise ImageError(f"{path} is empty: it holds no image.")
    series = file.series[0]
    shape = tuple(int(n) for n in series.shape)
    if 0 in shape:
        raise ImageError(f"{path} is empty: its shape is {shape}.")
    if choice.given:
        return series, _said_axes(path, series, shape, choice)
    use: dict[str, int | None] = {"stack": None, "time": None, "colour": None}
    for position, (letter, length) in enumerate(zip(series.axes, shape, strict=True)):
        if letter in "YX" or (length == 1 and letter != "S"):
            continue
        role = {"S": "colour", "T": "time"}.get(letter, "stack")
        if letter == "C" or use[role] is not None:
            raise ImageError(
                f"{path} has {length} channels (axes {series.axes}, shape {shape}): "
                "choose with the options axes and channels (--axes, --channels), or "
                "save the one that is to be segmented as its own image, or all as RGB."
            )
        use[role] = position
    return series, TiffAxes(shape, **use)


def _said_axes(
    path: Path, series: TiffPageSeries, shape: tuple[int, ...], choice: AxesChoice
) -> TiffAxes:
    """Use axes as somebody says they are."""
    if "S" in series.axes:
        raise ImageError(
            f"{path} is a colour picture: leave the options axes and channels out."
        )
    order = read_axes(choice.axes or series.axes, shape)
    return TiffAxes(shape, order.axis("Z"), order.axis("T"), None)


def _why(error: Exception) -> str:
    """Say what went wrong in one line; decoders add whole tables of what they read."""
    return " ".join(str(error).split())[:80] or type(error).__name__


def _choose_frame(path: Path, count: int, frame: int | None) -> int | None:
    if frame is None and count > 1:
        raise ImageError(
            f"{path} has {count} frames: say which one to take, 0 to {count - 1}, with "
            "the option frame (--frame)."
        )
    if frame is not None and not 0 <= frame < count:
        raise ImageError(
            f"{path} has no frame {frame}: its frames are 0 to {count - 1}."
        )
    return frame if count > 1 else None


def _values(
    path: Path,
    file: TiffFile,
    series: TiffPageSeries,
    axes: TiffAxes,
    frame: int | None,
) -> NDArray[Any]:
    """Read (Y, X), (Z, Y, X), each with colour last where the file has it."""
    try:
        values = series.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        values = _values_through_pillow(path, series)
    if axes.time is not None:
        values = values.take([frame or 0], axis=axes.time)
    colour = axes.colour
    if colour is not None:
        values = np.moveaxis(values, colour, -1)
    # What is left is in the order Z, Y, X already; take the single ones out.
    kept = {position for position in (axes.stack,) if position is not None}
    kept |= {series.axes.index(letter) for letter in "YX"}
    letters = [p for p in range(len(axes.shape)) if p != colour]
    drop = [i for i, position in enumerate(letters) if position not in kept]
    squeezed: NDArray[Any] = values.squeeze(axis=tuple(drop))
    return squeezed


def _values_through_pillow(path: Path, series: TiffPageSeries) -> NDArray[Any]:
    """Decode LZW, JPEG and fax pages: Pillow carries libtiff, tifffile does not."""
    from PIL.Image import DecompressionBombError
    from PIL.TiffImagePlugin import TiffImageFile

    pages = []
    with path.open("rb") as stream, TiffImageFile(stream) as picture:
        for page in series.pages:
            if page is None:
                raise ImageError(f"{path} is damaged: a page is missing.")
            picture.seek(page.index)
            try:
                upright = np.asarray(picture)
            except DecompressionBombError as error:
                raise _needs_decoder(path) from error
            pages.append(_as_stored(upright, page))
    values = np.stack(pages)
    if values.size != np.prod(series.shape) or values.dtype.kind not in "biuf":
        raise _needs_decoder(path)
    return values.reshape(series.shape)


def _as_stored(upright: NDArray[Any], page: TiffPage | TiffFrame) -> NDArray[Any]:
    """Undo the turning by the orientation tag that Pillow does on its own."""
    turned = EXIF_ORNT[_orientation(page.keyframe)]
    stored_shape = (page.keyframe.imagelength, page.keyframe.imagewidth)
    return Geometry.plain(stored_shape, ornt=turned).to_source(upright)


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(ORIENTATION_TAG)
    return int(tag.value) if tag is not None and tag.value in EXIF_ORNT else 1


def _needs_decoder(path: Path) -> ImageError:
    return ImageError(
        f"{path} is compressed in a way that needs another decoder: run "
        "pip install imagecodecs, or save it without compression."
    )


def _meaning(
    path: Path,
    series: TiffPageSeries,
    values: NDArray[Any],
    axes: TiffAxes,
    labels: bool,
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Turn stored numbers into intensities, colours or labels."""
    page = series.keyframe
    photometric = int(page.photometric)
    if photometric in (SEPARATED, CIELAB):
        raise ImageError(
            f"{path} is stored in print colours (CMYK or Lab): save it as RGB or grey."
        )
    notes = []
    if axes.colour is not None:
        samples = values.shape[-1]
        if labels and samples > 1:
            raise ImageError(
                f"{path} is a colour picture, not a mask: a mask has one value per "
                "pixel."
            )
        if samples > 4:
            raise ImageError(
                f"{path} has {samples} channels: save the one that is to be segmented "
                "as its own image."
            )
        if samples in (2, 4):
            notes.append("The transparency (last channel) of the image is ignored.")
        values = values[..., :3] if samples >= 3 else values[..., 0]
        return values, tuple(notes)
    if labels:
        return values, ()
    if photometric == PALETTE and page.colormap is not None:
        colours = np.asarray(page.colormap).T[values]
        values = (colours >> 8).astype(np.uint8)
        if (values == values[..., :1]).all():
            values = values[..., 0]
        return values, ()
    if photometric == WHITE_IS_ZERO and values.dtype.kind in "bu":
        values = ~values
        notes.append("The file stores white as 0; it is shown, and read, inverted.")
    return values, tuple(notes)


def _spacing(
    file: TiffFile, series: TiffPageSeries, axes: TiffAxes
) -> tuple[tuple[float, ...] | None, str, tuple[str, ...]]:
    """Find the pixel size that a file states: spacing, unit and notes."""
    page = series.keyframe
    if series.kind == "ome":
        stated = ome_size(file.ome_metadata or "")
    elif series.kind == "imagej":
        stated = imagej_size(file.imagej_metadata or {}, page.resolution)
    else:
        per_mm = {INCH: 1 / 25.4, CENTIMETRE: 0.1}.get(int(page.resolutionunit), 0.0)
        across, down = page.resolution
        stated = resolution_size((across * per_mm, down * per_mm))
    if stated is None:
        return None, "pixel", ()
    sizes, unit = stated
    letters = "YX" if axes.stack is None else "ZYX"
    if not set(letters) <= sizes.keys():
        return None, "pixel", ("The file does not state the distance of its slices.",)
    return tuple(sizes[letter] for letter in letters), unit, ()
