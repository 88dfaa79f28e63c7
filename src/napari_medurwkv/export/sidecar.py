"""What lies beside a mask: the record as JSON, and names in ITK-SNAP's form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import OutputError
from napari_medurwkv.export.terms import code_text, segment_terms
from napari_medurwkv.io import text_output
from napari_medurwkv.provenance import (
    LabelRecord,
    MaskRecord,
    array_sha256,
    is_record,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints.card import ClassInfo
    from napari_medurwkv.export.mask import ExportMask
    from napari_medurwkv.io import Output

__all__ = ["itk_snap_output", "itk_snap_text", "labels_digest", "record_output"]

MOST_NAMES = 4096
"""Objects beyond these are not named one by one: no program lists so many."""


def record_output(mask: ExportMask, path: Path) -> Output:
    """Describe the record of a mask: labels, grid, and how it was made.

    Raises
    ------
    OutputError
        If a JSON file of another program lies there.
    """
    if path.exists() and not is_record(path):
        raise OutputError(
            f"{path} is not replaced, because it is no record of this plugin: choose "
            "another name for the mask."
        )
    labels = tuple(_label(info) for info in mask.segments[:MOST_NAMES])
    digest = labels_digest(mask.labels)
    if mask.record is None:
        record = MaskRecord.of(
            mask.geometry,
            labels=labels,
            instances=mask.instances,
            labels_sha256=digest,
            correction=mask.correction,
        )
        return text_output(path, record.model_dump_json(indent=2) + "\n")
    edits: dict[str, Any] = {
        "edited_by_hand": None if mask.changed is None else mask.changed > 0,
        "changed_voxels": mask.changed,
    }
    if mask.correction is not None:
        edits["correction"] = dict(mask.correction)
    run = mask.record.model_copy(
        update={
            "parameters": mask.record.parameters | edits,
            "labels": labels,
            "geometry_approximate": mask.geometry.approximate,
            "labels_sha256": digest,
        }
    )
    return text_output(path, run.model_dump_json(indent=2) + "\n")


def labels_digest(labels: NDArray[Any]) -> str:
    """Hash labels so that a record can tell later whether they are the same."""
    return array_sha256(labels.astype(np.uint32))


def itk_snap_output(mask: ExportMask, path: Path) -> Output:
    """Describe ITK-SNAP's file of label names."""
    return text_output(path, itk_snap_text(mask.segments[:MOST_NAMES]))


def itk_snap_text(segments: tuple[ClassInfo, ...]) -> str:
    """Write label names as ITK-SNAP does: IDX R G B A VIS MSH "LABEL"."""
    lines = [
        "# ITK-SnAP Label Description File",
        "# Columns: index, red, green, blue, opacity, visible, mesh, name",
        _itk_snap_line(0, (0, 0, 0), 0, "Clear Label"),
    ]
    for info in segments:
        red, green, blue = (int(info.color[i : i + 2], 16) for i in (1, 3, 5))
        lines.append(_itk_snap_line(info.value, (red, green, blue), 1, info.name))
    return "\n".join(lines) + "\n"


def _itk_snap_line(
    value: int, color: tuple[int, int, int], shown: int, name: str
) -> str:
    red, green, blue = color
    plain = json.dumps(name.replace('"', "'").replace("\\", "/"), ensure_ascii=False)
    return (
        f"{value:5} {red:5} {green:4} {blue:4} {shown:8} {shown:2} {shown:2}    {plain}"
    )


def _label(info: ClassInfo) -> LabelRecord:
    category, type_ = segment_terms(info)
    return LabelRecord(
        value=info.value,
        name=info.name,
        color=info.color,
        code=code_text(type_),
        category=code_text(category),
    )
