"""Measurements as tables (CSV) and as JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_medurwkv.io import text_output
from napari_medurwkv.measure import measure_structures
from napari_medurwkv.provenance import RESEARCH_USE
from napari_medurwkv.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medurwkv.export.mask import ExportMask
    from napari_medurwkv.io import Output
    from napari_medurwkv.measure import StructureMeasure

__all__ = ["csv_outputs", "describe_measure", "json_output"]


def csv_outputs(mask: ExportMask, table: Path, slices: Path | None) -> list[Output]:
    """Describe the tables of a mask: one row a class or object, one row a slice.

    Parameters
    ----------
    mask : ExportMask
        What to measure.
    table : Path
        Target of the classes.
    slices : Path or None
        Target of the slices; None in 2D.
    """
    measures = _measure(mask)
    rows = [describe_measure(measure) for measure in measures]
    note = _remark(mask)
    for row in rows:
        row["geometry"] = note
    outputs = [text_output(table, _csv(rows))]
    if slices is not None:
        lines = [
            {
                "value": measure.value,
                "name": measure.name,
                "slice": index,
                f"area_{_square(measure.unit)}": area,
            }
            for measure in measures
            for index, area in measure.slices.items()
        ]
        outputs.append(text_output(slices, _csv(lines)))
    return outputs


def json_output(mask: ExportMask, path: Path) -> Output:
    """Describe the measurements of a mask as JSON, slices included."""
    structures = [
        describe_measure(measure)
        | {
            f"slice_area_{_square(measure.unit)}": {
                str(index): area for index, area in measure.slices.items()
            }
        }
        for measure in _measure(mask)
    ]
    document = {
        "kind": "napari-medurwkv measurements",
        "plugin": __version__,
        "geometry": _remark(mask),
        "spacing": list(mask.geometry.display_spacing),
        "unit": mask.geometry.unit,
        "structures": structures,
        "notice": RESEARCH_USE,
    }
    return text_output(path, json.dumps(document, indent=2) + "\n")


def describe_measure(measure: StructureMeasure) -> dict[str, Any]:
    """Name the numbers of a structure with their units.

    Parameters
    ----------
    measure : StructureMeasure
        What was measured.

    Returns
    -------
    dict
        Flat; intensities that were not measured are None.
    """
    unit, shape = measure.unit, measure.shape
    row: dict[str, Any] = {"value": measure.value, "name": measure.name}
    row["voxels" if measure.solid else "pixels"] = shape.voxels
    if measure.solid:
        cube = "px3" if unit == "px" else f"{unit}3"
        row["volume_ml"] = measure.ml
        row[f"volume_{cube}"] = shape.size
        row[f"mesh_volume_{cube}"] = shape.mesh_size
        row[f"surface_{_square(unit)}"] = shape.boundary
    else:
        row[f"area_{_square(unit)}"] = shape.size
        row[f"mesh_area_{_square(unit)}"] = shape.mesh_size
        row[f"perimeter_{unit}"] = shape.boundary
    row[f"max_diameter_{unit}"] = shape.diameter
    if measure.solid:
        row["slices"] = len(measure.slices)
        row[f"largest_slice_{_square(unit)}"] = max(
            measure.slices.values(), default=0.0
        )
    names = ("mean", "sd", "minimum", "p10", "median", "p90", "maximum")
    found = measure.intensities
    statistics = asdict(found) if found is not None else dict.fromkeys(names)
    return row | {f"intensity_{name}": statistics[name] for name in names}


def _measure(mask: ExportMask) -> tuple[StructureMeasure, ...]:
    return measure_structures(
        mask.labels,
        mask.geometry,
        mask.classes,
        image=mask.image,
        instances=mask.instances,
    )


def _square(unit: str) -> str:
    return f"{unit}2"


def _remark(mask: ExportMask) -> str:
    if mask.geometry.approximate:
        return f"approximate: {mask.geometry.approximate}"
    return "assumed" if mask.geometry.assumed else "known"


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    rows = list(rows)
    stream = io.StringIO(newline="")
    if rows:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return stream.getvalue()
