"""The pixel size that a raster file states, if it states one."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PixelSize", "imagej_size", "ome_size", "resolution_size"]

# Per axis letter ("Z", "Y", "X") a size, and the unit of all: "mm", "um" or "nm".
PixelSize = tuple[dict[str, float], str]

# How OME-XML and ImageJ spell lengths: the geometry's unit, and how many of it.
_LENGTHS = {
    "nm": ("nm", 1.0),
    "nanometer": ("nm", 1.0),
    "um": ("um", 1.0),
    "µm": ("um", 1.0),
    "μm": ("um", 1.0),
    "\\u00b5m": ("um", 1.0),
    "micron": ("um", 1.0),
    "microns": ("um", 1.0),
    "micrometer": ("um", 1.0),
    "mm": ("mm", 1.0),
    "millimeter": ("mm", 1.0),
    "cm": ("mm", 10.0),
    "m": ("mm", 1000.0),
    "in": ("mm", 25.4),
    "inch": ("mm", 25.4),
}
_MILLIMETRES = {"nm": 1e-6, "um": 1e-3, "mm": 1.0}

# Resolutions that screens and printers set: they say nothing of the specimen.
_SCREEN_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 192, 200, 240, 250, 266)
_PRINT_DPI = (300, 350, 360, 400, 450, 480, 600, 720, 800, 1000, 1200, 1440, 2400)


def ome_size(xml: str) -> PixelSize | None:
    """Read PhysicalSizeX, Y and Z of the first image of an OME-XML text.

    Many writers give the unit on X alone, so X's goes for all axes that have none;
    where X has none either it is the micrometre, as the schema says.
    """
    # A pattern instead of a parser: entities of a hostile text cannot unfold.
    element = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    if element is None:
        return None
    stated: dict[str, str] = dict(
        re.findall(r'\b(PhysicalSize\w+)="([^"]*)"', element.group(0))
    )
    common = stated.get("PhysicalSizeXUnit", "µm")
    sizes = {}
    for letter in "ZYX":
        text = stated.get(f"PhysicalSize{letter}")
        if text is not None:
            unit = stated.get(f"PhysicalSize{letter}Unit", common)
            sizes[letter] = (_number(text), unit)
    return _in_one_unit(sizes)


def imagej_size(
    metadata: Mapping[str, object], resolution: tuple[float, float]
) -> PixelSize | None:
    """Read the unit, the slice distance and the pixels per unit of an ImageJ file.

    Parameters
    ----------
    metadata : mapping
        ImageJ's own description of the file.
    resolution : (float, float)
        Pixels per unit along X and Y.
    """
    unit = str(metadata.get("unit", ""))
    across, down = resolution
    sizes = {"X": (_inverse(across), unit), "Y": (_inverse(down), unit)}
    if "spacing" in metadata:
        sizes["Z"] = (abs(_number(str(metadata["spacing"]))), unit)
    return _in_one_unit(sizes)


def resolution_size(per_mm: tuple[float, float]) -> PixelSize | None:
    """Turn a resolution tag into a pixel size, unless it is a screen's or printer's.

    Parameters
    ----------
    per_mm : (float, float)
        Pixels per millimetre along X and Y.
    """
    for density in per_mm:
        dpi = density * 25.4
        if any(abs(dpi - usual) < 0.01 * usual for usual in _SCREEN_DPI + _PRINT_DPI):
            return None
        if dpi < 2:  # a pixel of half an inch: nobody means it
            return None
    fine = max(_inverse(density) for density in per_mm) < 0.01
    unit = "um" if fine else "mm"
    across, down = (_inverse(density) / _MILLIMETRES[unit] for density in per_mm)
    return _in_one_unit({"X": (across, unit), "Y": (down, unit)})


def _in_one_unit(sizes: Mapping[str, tuple[float, str]]) -> PixelSize | None:
    """Tell all sizes in the unit of X; None unless X and Y have sound ones."""
    found: dict[str, float] = {}
    units: dict[str, str] = {}
    for letter, (size, spelled) in sizes.items():
        length = _LENGTHS.get(spelled.strip().lower())
        if length is not None and 0 < size < math.inf:
            units[letter], factor = length
            found[letter] = size * factor
    if not {"X", "Y"} <= found.keys():
        return None
    unit = units["X"]
    for letter in found:
        if units[letter] != unit:
            found[letter] *= _MILLIMETRES[units[letter]] / _MILLIMETRES[unit]
    return found, unit


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _inverse(value: float) -> float:
    return 1 / value if value else math.nan
