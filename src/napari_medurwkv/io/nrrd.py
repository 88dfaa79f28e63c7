"""NRRD: read an image, a mask, or a segmentation of 3D Slicer."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_medurwkv.io.label_names import LabelName, default_color
from napari_medurwkv.io.nrrd_header import open_nrrd
from napari_medurwkv.io.volume import read_volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_medurwkv.io.image import Image

__all__ = ["is_nrrd_segmentation", "nrrd_frame_count", "read_nrrd"]

APPROXIMATE = "medurwkv_geometry_approximate"
"""Key under which this program's masks say why positions are not exact."""


def read_nrrd(path: Path, *, frame: int | None = None, labels: bool = False) -> Image:
    """Read a 2D or 3D image, or one frame (of a segmentation: one layer) of it.

    Parameters
    ----------
    path : Path
        A ``.nrrd``, ``.nhdr`` or ``.seg.nrrd`` file.
    frame : int, optional
        Which frame, from 0, where the file has several.
    labels : bool
        Read a mask, with the names and colours of its segments.

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        If the file is damaged, empty, too large for memory or no image.
    """
    file = open_nrrd(path)
    image = read_volume(file.volume, frame=frame, labels=labels)
    doubt = str(file.fields.get(APPROXIMATE, ""))
    if doubt:
        image = replace(image, geometry=replace(image.geometry, approximate=doubt))
    return (
        replace(image, classes=_segments(file.fields, frame or 0)) if labels else image
    )


def nrrd_frame_count(path: Path) -> int:
    """Count the frames, or the layers of a segmentation; 1 as a rule."""
    return open_nrrd(path).volume.frame_count


def is_nrrd_segmentation(path: Path) -> bool:
    """Whether a file names segments."""
    return "Segment0_ID" in open_nrrd(path).fields


def _segments(fields: Mapping[str, Any], layer: int) -> tuple[LabelName, ...]:
    """Read what 3D Slicer writes of each segment that lies in one layer."""
    count = 0
    while f"Segment{count}_ID" in fields:
        count += 1
    # Slicer before 2020 gave every segment a layer of its own, in which it is 1.
    separate = not any(f"Segment{n}_LabelValue" in fields for n in range(count))
    found = []
    for number in range(count):
        prefix = f"Segment{number}_"
        own_layer = number if separate else 0
        if _whole(fields.get(f"{prefix}Layer"), own_layer) != layer:
            continue
        value = _whole(fields.get(f"{prefix}LabelValue"), 1)
        name = str(fields.get(f"{prefix}Name") or fields[f"{prefix}ID"])
        color = _color(str(fields.get(f"{prefix}Color", "")), value)
        code = _code(str(fields.get(f"{prefix}Tags", "")))
        found.append(LabelName(value, name, color, code))
    return tuple(found)


def _whole(text: object, otherwise: int) -> int:
    try:
        return int(str(text))
    except ValueError:
        return otherwise


def _color(text: str, value: int) -> str:
    """Turn "0.5 0.68 0.5" into "#80ad80"."""
    try:
        parts = [round(min(max(float(word), 0.0), 1.0) * 255) for word in text.split()]
    except ValueError:
        parts = []
    if len(parts) != 3:
        return default_color(value)
    return "#{:02x}{:02x}{:02x}".format(*parts)


def _code(tags: str) -> str:
    """Take the type out of "TerminologyEntry:context~category~type~modifier~..."."""
    entry = re.search(r"TerminologyEntry:([^|]*)", tags)
    parts = entry.group(1).split("~") if entry else []
    if len(parts) < 3 or parts[2].count("^") != 2:
        return ""
    return "" if parts[2].startswith("^") else parts[2]
