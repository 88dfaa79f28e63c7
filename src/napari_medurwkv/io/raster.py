"""PNG and JPEG: read an image or labels, write PNG labels."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError, OutputError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io.image import Image, clean_values
from napari_medurwkv.io.limits import DEFLATE_RATIO, check_claim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from napari_medurwkv.io.write import LabelClass

__all__ = [
    "EXIF_ORNT",
    "raster_order",
    "read_raster",
    "spacing_of_resolution",
    "write_png",
]

# EXIF orientation to (source axis, sign) per display axis: how a viewer turns the
# stored rows and columns upright.
EXIF_ORNT = {
    1: ((0, 1), (1, 1)),
    2: ((0, 1), (1, -1)),
    3: ((0, -1), (1, -1)),
    4: ((0, -1), (1, 1)),
    5: ((1, 1), (0, 1)),
    6: ((1, 1), (0, -1)),
    7: ((1, -1), (0, -1)),
    8: ((1, -1), (0, 1)),
}
ORIENTATION_TAG = 0x0112

# Modes by what is kept of them. The rest (CMYK, LAB, ...) is print or video.
_GREY_MODES = {"L": "L", "LA": "L", "1": "L", "I": "I", "F": "F"}
_COLOUR_MODES = {"RGB", "RGBA", "P"}

# Resolutions that screens and printers set: they say nothing of the specimen.
_SCREEN_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 192, 200, 240, 250, 266)
_PRINT_DPI = (300, 350, 360, 400, 450, 480, 600, 720, 800, 1000, 1200, 1440, 2400)


def read_raster(path: Path, *, labels: bool = False) -> Image:
    """Read a PNG or JPEG file, told apart by content.

    Alpha is dropped and colours stay as stored. A palette becomes grey where it has
    only greys, else colour. The EXIF orientation turns the display, not the source:
    a mask goes back onto the stored pixels and carries the same orientation.

    Parameters
    ----------
    path : Path
        The file.
    labels : bool
        Read a mask: the indices of a palette rather than its colours.

    Returns
    -------
    Image
        uint8, uint16 or int32; colour as a last axis of 3.

    Raises
    ------
    ImageError
        If the file is damaged, too large for memory, or in print colours (CMYK).
    """
    with path.open("rb") as stream:
        kind = "png" if stream.read(1) == b"\x89" else "jpeg"
        stream.seek(0)
        try:
            with _open(stream, kind) as opened:
                claimed = opened.width * opened.height * len(opened.getbands())
                check_claim(path, claimed, ratio=DEFLATE_RATIO * 8)
                values, notes = _pixels(path, opened, labels)
                orientation = int(opened.getexif().get(ORIENTATION_TAG, 1))
                dpi = opened.info.get("dpi") if kind == "png" else None
        except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
            raise ImageError(
                f"{path} is truncated or damaged ({error}): copy it again."
            ) from error
    rgb = values.ndim == 3
    if not labels:
        values, _ = clean_values(values, str(path))
    spacing = None
    if dpi is not None:
        # Stored as width, height; rows come first here.
        spacing = spacing_of_resolution(dpi[1] / 25.4, dpi[0] / 25.4)
    if orientation not in EXIF_ORNT:
        orientation = 1
    source = SourceInfo(
        format=kind, path=str(path), shape=values.shape, exif_orientation=orientation
    )
    geometry = Geometry.plain(
        values.shape[:2],
        spacing,
        "mm" if spacing else "pixel",
        ornt=EXIF_ORNT[orientation],
        source=source,
    )
    return Image(geometry.to_display(values), geometry, rgb, path.stem, notes)


def spacing_of_resolution(*pixels_per_mm: float) -> tuple[float, ...] | None:
    """Turn a stored resolution into a pixel size in mm, unless it is a printer's.

    Parameters
    ----------
    *pixels_per_mm : float
        Resolution per axis.

    Returns
    -------
    tuple of float or None
        None where the resolution is absent or one that screens and printers use, which
        says nothing about the specimen.
    """
    usual_dpi = _SCREEN_DPI + _PRINT_DPI
    for density in pixels_per_mm:
        dots_per_inch = density * 25.4
        if not np.isfinite(density) or density <= 0 or dots_per_inch < 2:
            return None
        if any(abs(dots_per_inch - usual) < 0.01 * usual for usual in usual_dpi):
            return None
    return tuple(1 / density for density in pixels_per_mm)


def raster_order(
    labels: NDArray[Any], geometry: Geometry
) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Order labels as a raster file's rows and columns.

    Parameters
    ----------
    labels : ndarray
        In display order of `geometry`.
    geometry : Geometry
        Of the image that was segmented.

    Returns
    -------
    pixels : ndarray
        The image's own pixel grid; display order where the image has anatomy, because
        its source axes are then no rows and columns.
    spacing : tuple of float
        Pixel size per axis of `pixels`, in the geometry's unit.
    """
    source = geometry.to_source(labels)  # checks the shape in any case
    if geometry.kind == "patient":
        return labels, geometry.display_spacing
    return source, geometry.spacing


def write_png(
    path: Path,
    labels: NDArray[Any],
    geometry: Geometry,
    classes: Sequence[LabelClass] = (),
    *,
    palette: bool = False,
) -> None:
    """Write a mask as PNG: 8-bit grey, 16-bit grey above 255, or 8-bit palette.

    Grey is the default because every reader then gives the label values; a palette
    shows the classes' colours, but many readers return those colours for values.

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    labels : (Y, X) uint8 or uint16 ndarray
        In display order of `geometry`.
    geometry : Geometry
        Of the image that was segmented.
    classes : sequence of LabelClass
        Colours for the palette.
    palette : bool
        Whether to colour 8-bit masks.

    Raises
    ------
    OutputError
        If the labels are 3D or exceed 65535.
    """
    from PIL import Image as PillowImage
    from PIL.PngImagePlugin import PngInfo

    if labels.ndim != 2:
        raise OutputError("A PNG holds one 2D mask: save a volume as .nii.gz or .tif.")
    if labels.dtype.itemsize > 2:
        raise OutputError(
            "A PNG holds labels up to 65535 and this mask goes beyond: save it as .tif."
        )
    pixels, spacing = raster_order(labels, geometry)
    pixels = np.ascontiguousarray(pixels)
    picture = PillowImage.fromarray(pixels)
    if palette and pixels.dtype == np.uint8:
        picture.putpalette(_palette(classes))
    options: dict[str, Any] = {"pnginfo": PngInfo()}
    if geometry.source.exif_orientation != 1 and geometry.kind != "patient":
        exif = PillowImage.Exif()
        exif[ORIENTATION_TAG] = geometry.source.exif_orientation
        options["exif"] = exif
    if geometry.mm_per_unit:
        rows, columns = (size * geometry.mm_per_unit for size in spacing)
        options["dpi"] = (25.4 / columns, 25.4 / rows)
    picture.save(path, format="PNG", **options)


def _palette(classes: Sequence[LabelClass]) -> bytes:
    colours = np.zeros((256, 3), dtype=np.uint8)
    # Values without a class stay tellable from the background.
    colours[1:] = 255
    for entry in classes:
        if 0 < entry.value < 256:
            colours[entry.value] = list(bytes.fromhex(entry.color.removeprefix("#")))
    return colours.tobytes()


def _open(stream: Any, kind: str) -> ImageFile:
    # The classes themselves, not PIL.Image.open: it would try every format it knows
    # (some start other programs) and has one size limit for all memories.
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(stream) if kind == "png" else JpegImageFile(stream)


def _pixels(
    path: Path, opened: ImageFile, labels: bool
) -> tuple[NDArray[Any], tuple[str, ...]]:
    mode = opened.mode
    if mode.startswith("I;16"):
        return np.asarray(opened).astype(np.uint16), ()
    if labels:
        if mode in ("P", "L", "I", "1"):
            return np.asarray(opened), ()
        raise ImageError(
            f"{path} is a picture ({mode}), not a mask: a mask has one value per pixel."
        )
    notes = []
    if mode in ("LA", "RGBA") and opened.getchannel("A").getextrema() != (255, 255):
        notes.append("The transparency of the image is ignored.")
    if mode in _GREY_MODES:
        return np.asarray(opened.convert(_GREY_MODES[mode])), tuple(notes)
    if mode not in _COLOUR_MODES:
        raise ImageError(
            f"{path} is stored in {mode} colours, which are meant for print: save it "
            "as RGB or grey."
        )
    colour = np.asarray(opened.convert("RGB"))
    grey = mode == "P" and (colour == colour[..., :1]).all()
    return colour[..., 0] if grey else colour, tuple(notes)
