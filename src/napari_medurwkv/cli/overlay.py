"""A picture of a mask over its image, with a legend, for reports and first looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.inference import Segmentation
    from napari_medurwkv.io import Image

__all__ = ["draw_overlay", "write_overlay"]

PANEL = 420
"""Height that small planes are enlarged to, in pixels."""

MARGIN = 12
OPACITY = 0.45
BACKGROUND = (16, 16, 16)
TEXT = (235, 235, 235)

Colours = dict[int, tuple[int, int, int]]


def write_overlay(
    path: Path, image: Image, result: Segmentation, *, overwrite: bool = False
) -> Path:
    """Write `draw_overlay` as a PNG file, safely.

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    from napari_medurwkv.io import write_safely

    picture = draw_overlay(image, result)

    def write(part: Path) -> None:
        picture.save(part, format="png")

    return write_safely(path, write, overwrite=overwrite)


def draw_overlay(image: Image, result: Segmentation) -> Pictures.Image:
    """Draw class colours over an image; of a volume, its three middle planes.

    Planes of a patient hang as radiologists hang them: head or face up, the patient's
    left at the right.

    Parameters
    ----------
    image : Image
        What was segmented.
    result : Segmentation
        What came out; objects of one class get its colour and an outline.

    Returns
    -------
    PIL.Image.Image
        In RGB.
    """
    colours: Colours = {
        info.value: _rgb(info.color) for info in result.classes if info.value != 0
    }
    labels, outline = result.labels, result.instances
    panels = [
        _panel(grey, mask, size, colours, outline)
        for grey, mask, size in _planes(image, labels)
    ]
    legend = [(info.name, _rgb(info.color)) for info in result.classes if info.value]
    count = len(np.unique(labels[labels != 0])) if outline else None
    if count is not None:
        legend = [(f"{name}: {count} objects", colour) for name, colour in legend[:1]]
    return _compose(panels, image.name, legend)


def _planes(
    image: Image, labels: NDArray[Any]
) -> list[tuple[NDArray[np.uint8], NDArray[Any], tuple[float, float]]]:
    """Cut the planes to show: 8-bit RGB, labels, and size of a pixel (row, column)."""
    shown = _eight_bit(image)
    spacing = image.geometry.display_spacing
    if labels.ndim == 2:
        return [(shown, labels, (spacing[0], spacing[1]))]
    planes = []
    for axis in range(3):
        middle = labels.shape[axis] // 2
        plane, mask = shown.take(middle, axis), labels.take(middle, axis)
        if axis > 0 and image.geometry.kind == "patient":
            # Rows grow to the head; pictures grow downwards.
            plane, mask = plane[::-1], mask[::-1]
        rows, columns = (size for i, size in enumerate(spacing) if i != axis)
        planes.append((plane, mask, (rows, columns)))
    return planes


def _eight_bit(image: Image) -> NDArray[np.uint8]:
    values = image.array
    if image.rgb and values.dtype == np.uint8:
        return np.asarray(values)
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = (values.astype(np.float32) - low) / max(float(high - low), 1e-12)
    eight = (scaled.clip(0, 1) * 255).astype(np.uint8)
    return eight if image.rgb else np.repeat(eight[..., None], 3, axis=-1)


def _panel(
    plane: NDArray[np.uint8],
    mask: NDArray[Any],
    pixel: tuple[float, float],
    colours: Colours,
    outline: bool,
) -> Pictures.Image:
    """Enlarge a plane to square pixels and put the mask over it."""
    finest = min(pixel)
    height = plane.shape[0] * pixel[0] / finest
    width = plane.shape[1] * pixel[1] / finest
    scale = max(1.0, PANEL / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Pictures.fromarray(np.ascontiguousarray(plane))
    base = np.asarray(picture.resize(size, Pictures.Resampling.BILINEAR), np.float32)
    rows = (np.arange(size[1]) * mask.shape[0]) // size[1]
    columns = (np.arange(size[0]) * mask.shape[1]) // size[0]
    big = mask[rows][:, columns]
    mixed = base.copy()
    if outline:
        colour = np.array(next(iter(colours.values())), np.float32)
        inside = big != 0
        mixed[inside] = (1 - OPACITY) * base[inside] + OPACITY * colour
        rim = find_boundaries(big, mode="inner") & inside
        mixed[rim] = 0.35 * colour + 0.65 * 255
    else:
        for value, rgb in colours.items():
            inside = big == value
            mixed[inside] = (1 - OPACITY) * base[inside] + OPACITY * np.array(rgb)
    return Pictures.fromarray(mixed.astype(np.uint8))


def _compose(
    panels: list[Pictures.Image],
    title: str,
    legend: list[tuple[str, tuple[int, int, int]]],
) -> Pictures.Image:
    """Put panels side by side, a title above and the legend below."""
    font = ImageFont.load_default(size=16)
    line = 26
    width = sum(panel.width for panel in panels) + MARGIN * (len(panels) + 1)
    entries = [
        (name, colour, 22 + font.getlength(name) + 24) for name, colour in legend
    ]
    # Narrow pictures get their legend in several lines.
    lines: list[list[tuple[str, tuple[int, int, int], float]]] = [[]]
    for entry in entries:
        if lines[-1] and sum(e[2] for e in lines[-1]) + entry[2] > width - 2 * MARGIN:
            lines.append([])
        lines[-1].append(entry)
    tallest = max(panel.height for panel in panels)
    height = MARGIN + line + tallest + MARGIN + line * len(lines) + MARGIN // 2
    sheet = Pictures.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN // 2), title, fill=TEXT, font=font)
    left = MARGIN
    for panel in panels:
        sheet.paste(panel, (left, MARGIN + line + (tallest - panel.height) // 2))
        left += panel.width + MARGIN
    top = MARGIN + line + tallest + MARGIN
    for row in lines:
        place = float(MARGIN)
        for name, colour, length in row:
            pen.rectangle((place, top + 2, place + 14, top + 16), fill=colour)
            pen.text((place + 22, top), name, fill=TEXT, font=font)
            place += length
        top += line
    return sheet


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
