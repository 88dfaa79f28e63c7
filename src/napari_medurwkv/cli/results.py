"""What a command does with a finished mask: write it, measure it, tell of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from napari_medurwkv.cli.streams import add_row, say, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medurwkv.inference import Segmentation
    from napari_medurwkv.io import Image
    from napari_medurwkv.measure import ClassMeasure

__all__ = [
    "describe_result",
    "measure_result",
    "save_mask",
    "show_result",
    "size_text",
]


def save_mask(result: Segmentation, mask: Path, *, overwrite: bool) -> None:
    """Write a mask in the format of its ending, with its record beside it.

    Parameters
    ----------
    result : Segmentation
        What to write.
    mask : Path
        File for the mask.
    overwrite : bool
        Whether an older mask and record may be replaced.
    """
    from napari_medurwkv.export import ExportMask, export_mask, format_of_name

    entry, ending = format_of_name(mask.name)
    export_mask(
        ExportMask(
            result.labels,
            result.geometry,
            result.classes,
            instances=result.instances,
            record=result.record,
            changed=0,
        ),
        [entry.key],
        mask.with_name(mask.name[: len(mask.name) - len(ending)]),
        overwrite=overwrite,
        endings={entry.key: ending},
        names_beside=False,
    )


def show_result(
    result: Segmentation,
    image: Image,
    mask: Path,
    measures: Sequence[ClassMeasure],
    others: Sequence[Path] = (),
    *,
    as_json: bool,
) -> None:
    """Tell of a mask that has been written: a table, or one JSON document.

    Parameters
    ----------
    result, image, mask, measures
        As for `describe_result`.
    others : sequence of Path
        What else was written.
    as_json : bool
        Whether programs read it.
    """
    from napari_medurwkv.provenance import record_path

    if as_json:
        show_json(describe_result(result, image, mask, measures))
        return
    record = result.record
    table = Table(title=Text(f"{image.name}, {image.geometry.describe()}"))
    for heading, side in (("Value", "right"), ("Class", "left"), ("Size", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    if result.instances:
        table.add_column("Objects", justify="right")
    for measure in measures:
        cells = [
            "1, 2, ..." if result.instances else str(measure.value),
            measure.name,
            size_text(measure),
        ]
        add_row(table, *cells, *([str(measure.components)] * result.instances))
    table.caption = f"{record.model.name}, {record.seconds:.1f} s"
    show_table(table)
    say(f"Computed on {'; then '.join(record.device_path)}.")
    wrote = ", ".join(map(str, (mask, *others)))
    say(f"Wrote {wrote} and {record_path(mask)}. {record.notice}")


def measure_result(result: Segmentation) -> tuple[ClassMeasure, ...]:
    """Measure each class of a mask, or all objects together."""
    from napari_medurwkv.measure import class_measures, object_measure

    if not result.instances:
        return class_measures(result.labels, result.geometry, result.classes)
    kind = next(info for info in result.classes if info.value != 0)
    return (object_measure(result.labels, result.geometry, kind),)


def size_text(measure: ClassMeasure) -> str:
    """Write a size with three or more digits, and with its unit."""
    digits = ",.0f" if measure.size >= 1000 or measure.unit == "px" else ".3g"
    return f"{measure.size:{digits}} {measure.unit}"


def describe_result(
    result: Segmentation, image: Image, mask: Path, measures: Sequence[ClassMeasure]
) -> dict[str, Any]:
    """Describe a result for programs.

    Parameters
    ----------
    result : Segmentation
        What came out.
    image : Image
        What went in.
    mask : Path
        Where the mask is.
    measures : sequence of ClassMeasure
        From `measure_result`.

    Returns
    -------
    dict
        Holds nothing but what JSON knows.
    """
    from napari_medurwkv.provenance import record_path

    return {
        "mask": str(mask),
        "record": str(record_path(mask)),
        "image": image.name,
        "geometry": image.geometry.describe(),
        "notes": list(image.notes),
        "instances": result.instances,
        "measures": [asdict(entry) for entry in measures],
        # As it was written: with what the values mean and their digest.
        "run": json.loads(record_path(mask).read_bytes()),
    }
