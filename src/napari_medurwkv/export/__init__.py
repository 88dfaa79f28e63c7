"""Masks out: every format, on the image's grid, safely, with a record beside."""

from __future__ import annotations

from napari_medurwkv.export.formats import (
    FORMATS,
    Format,
    find_format,
    format_of_name,
    planned_paths,
)
from napari_medurwkv.export.mask import (
    ExportMask,
    ExportOptions,
    class_infos,
    with_spacing,
)
from napari_medurwkv.export.write import Exported, export_mask, without_ending

__all__ = [
    "FORMATS",
    "ExportMask",
    "ExportOptions",
    "Exported",
    "Format",
    "class_infos",
    "export_mask",
    "find_format",
    "format_of_name",
    "planned_paths",
    "with_spacing",
    "without_ending",
]
