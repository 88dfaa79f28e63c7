"""COCO annotations of a plane, with run-length encoded masks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medurwkv.io import text_output
from napari_medurwkv.provenance import RESEARCH_USE
from napari_medurwkv.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.export.mask import ExportMask
    from napari_medurwkv.io import Output

__all__ = ["coco_output", "run_lengths"]


def coco_output(mask: ExportMask, path: Path) -> Output:
    """Describe a COCO JSON file of a 2D mask.

    One annotation for each class, or for each object where the mask numbers objects,
    on the pixels as the image's file has them. Runs are uncompressed, as COCO's own
    programs read them too.

    Parameters
    ----------
    mask : ExportMask
        2D.
    path : Path
        Target.
    """
    return text_output(path, json.dumps(_document(mask, path), indent=1) + "\n")


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a mask as COCO does: runs down the columns, the first one of zeros.

    Parameters
    ----------
    mask : (H, W) ndarray of bool
        Rows and columns as stored.

    Returns
    -------
    dict
        With "size" [H, W] and "counts".
    """
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([changes[changes < mask.size], [mask.size]])
    counts = np.diff(ends, prepend=0).tolist()
    return {"size": [int(n) for n in mask.shape], "counts": counts}


def _document(mask: ExportMask, path: Path) -> dict[str, Any]:
    # Rows and columns as stored; a plane of a volume format is turned to rows first.
    pixels = mask.geometry.to_source(mask.labels)
    if mask.geometry.kind == "patient":
        pixels = pixels.T
    kinds = {0: "object"} if mask.instances and not mask.classes else {}
    kinds |= {
        info.value: info.name
        for info in (mask.classes if mask.instances else mask.segments)
        if info.value != 0
    }
    category = min(kinds, default=0)
    height, width = (int(n) for n in pixels.shape)
    return {
        "info": {
            "description": f"Written by napari-medurwkv {__version__}. {RESEARCH_USE}",
            "version": "1.0",
        },
        "images": [
            {"id": 1, "width": width, "height": height, "file_name": _name(mask, path)}
        ],
        "categories": [
            {"id": value or 1, "name": name, "supercategory": ""}
            for value, name in sorted(kinds.items())
        ],
        "annotations": _annotations(pixels, category or 1 if mask.instances else None),
    }


def _annotations(pixels: NDArray[Any], category: int | None) -> list[dict[str, Any]]:
    values = [int(value) for value in np.unique(pixels) if value]
    dense = np.searchsorted(values, pixels).astype(np.int32) + 1
    dense[pixels == 0] = 0
    annotations = []
    for number, box in enumerate(ndimage.find_objects(dense), start=1):
        inside = dense == number
        rows, columns = box
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": values[number - 1] if category is None else category,
                "value": values[number - 1],
                "iscrowd": 0,
                "area": int(np.count_nonzero(inside[box])),
                "bbox": [
                    columns.start,
                    rows.start,
                    columns.stop - columns.start,
                    rows.stop - rows.start,
                ],
                "segmentation": run_lengths(inside),
            }
        )
    return annotations


def _name(mask: ExportMask, path: Path) -> str:
    """Name the picture; files of DICOM are often named after the patient."""
    source = mask.geometry.source
    if source.path is None or source.format == "dicom":
        return path.with_suffix(".png").name
    return source.path.replace("\\", "/").rsplit("/", 1)[-1]
