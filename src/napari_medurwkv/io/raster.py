"""PNG and JPEG: read an image or labels, write PNG labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError, OutputError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io.image import Image
from napari_medurwkv.io.limits import DEFLATE_RATIO, check_claim
from napari_medurwkv.io.pixel_size import resolution_size

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

# Pillow's modes, and what becomes of them. The rest (CMYK, LAB, ...) is for print.
_KEPT_AS = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "I": "I",
    "P": "RGB",
    "RGB": "RGB",
    "RGBA": "RGB",
}


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
                # A palette or single bits unfold up to eight times more.
                check_claim(
                    path, claimed, ratio=8 * DEFLATE_RATIO if kind == "png" else None
                )
                values, notes = _pixels(path, opened, labels)
                orientation = opened.getexif().get(ORIENTATION_TAG)
                dpi = opened.info.get("dpi") if kind == "png" else None
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # decoders of hostile files raise anything
            raise ImageError(
                f"{path} is truncated or damaged ({error}): copy it again."
            ) from error
    if orientation not in EXIF_ORNT:
        orientation = 1
    stated = resolution_size((dpi[0] / 25.4, dpi[1] / 25.4)) if dpi else None
    sizes, unit = stated or (None, "pixel")
    geometry = Geometry.plain(
        values.shape[:2],
        None if sizes is None else (sizes["Y"], sizes["X"]),
        unit,
        ornt=EXIF_ORNT[orientation],
        source=SourceInfo(
            format=kind,
            path=str(path.absolute()),
            shape=values.shape,
            exif_orientation=orientation,
        ),
    )
    rgb = values.ndim == 3
    return Image(geometry.to_display(values), geometry, rgb, path.stem, notes)


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
    """Decode to (rows, columns) or (rows, columns, 3)."""
    mode = opened.mode
    deep = any(str(tile[3]).endswith("16B") for tile in opened.tile)
    if mode.startswith("I;16"):
        return np.asarray(opened).astype(np.uint16), ()
    if labels:
        if mode in ("P", "L", "I"):
            return np.asarray(opened), ()
        if mode == "1":
            return np.asarray(opened).astype(np.uint8), ()
        raise ImageError(
            f"{path} is a picture ({mode}), not a mask: a mask has one value per pixel."
        )
    if mode not in _KEPT_AS:
        raise ImageError(
            f"{path} is stored in {mode} colours, which are meant for print: save it "
            "as RGB or grey."
        )
    notes = []
    if deep:
        notes.append("The file's 16-bit colours are read with 8 bits.")
    if opened.has_transparency_data:
        alpha = opened.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            notes.append("The transparency of the image is ignored.")
    values = np.asarray(opened.convert(_KEPT_AS[mode]))
    if mode == "P" and (values == values[..., :1]).all():
        values = values[..., 0]
    return values, tuple(notes)
