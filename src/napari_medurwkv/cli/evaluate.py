"""``medurwkv evaluate``: how far a mask agrees with a reference."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from napari_medurwkv.cli.grids import check_same_grid
from napari_medurwkv.cli.options import (
    AsJson,  # noqa: TC001 - typer reads it
    Overwrite,  # noqa: TC001
)
from napari_medurwkv.cli.streams import add_row, say, show_json, show_table
from napari_medurwkv.errors import GeometryError

if TYPE_CHECKING:
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io import Image
    from napari_medurwkv.measure import Comparison

__all__ = ["evaluate"]

NOTHING = "–"
"""Shown for a distance where a mask is empty."""


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Mask to judge.")],
    reference: Annotated[Path, typer.Argument(help="Mask that is taken for right.")],
    instances: Annotated[
        bool,
        typer.Option(
            "--instances", help="The masks number objects: compute the AJI too."
        ),
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, help="Of the surface Dice (NSD), in mm; in pixels for plain images."
        ),
    ] = 1.0,
    resample: Annotated[
        bool,
        typer.Option(
            "--resample",
            help="Masks on different grids: bring the mask onto the reference's grid.",
        ),
    ] = False,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", help="Write a table there too.", metavar="FILE"),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compare a mask with a reference.

    Dice, IoU, HD95, surface Dice (NSD) and counts of lesions, for each class and as
    means; of numbered objects the aggregated Jaccard index too.
    """
    from napari_medurwkv.cli.targets import check_target
    from napari_medurwkv.io import read_labels, refuse_source, write_text_safely
    from napari_medurwkv.measure import compare

    if csv_file is not None:
        check_target(csv_file, overwrite=overwrite)
    predicted, expected = read_labels(prediction), read_labels(reference)
    if csv_file is not None:
        for mask in (predicted, expected):
            refuse_source(csv_file, mask.geometry, "table")
    array, resampled = _on_one_grid(predicted, expected, resample=resample)
    geometry = expected.geometry
    lengths = _lengths(geometry)
    result = compare(
        array,
        expected.array,
        geometry.display_affine[:3, : geometry.ndim],
        tolerance=tolerance,
        instances=instances,
    )
    unit = f"{geometry.unit}{'²' if geometry.ndim == 2 else '³'}"
    names = {c.value: c.name for c in expected.classes or predicted.classes}
    if csv_file is not None:
        table = _csv(result, geometry.unit, names)
        write_text_safely(csv_file, table, overwrite=overwrite)
        say(f"Wrote {csv_file}.")
    if as_json:
        document = {
            "prediction": str(prediction),
            "reference": str(reference),
            "resampled": resampled,
            "unit": unit,
            "length_unit": geometry.unit,
            "tolerance": tolerance,
        }
        show_json(document | _describe(result, names))
        return
    title = f"{prediction.name} against {reference.name}"
    _show(result, title, names, unit, lengths, instances=instances)


def _on_one_grid(
    predicted: Image, expected: Image, *, resample: bool
) -> tuple[Any, bool]:
    """Return the prediction's array on the reference's grid, and if it had to move."""
    from napari_medurwkv.geometry import resample_labels

    try:
        check_same_grid(predicted.geometry, expected.geometry)
    except GeometryError:
        if not resample:
            raise
    else:
        return predicted.array, False
    moved = resample_labels(predicted.array, predicted.geometry, expected.geometry)
    say(
        "The masks lie on different grids: the mask was brought onto the reference's "
        "by the nearest voxel, which by itself costs agreement at the surface."
    )
    return moved, True


def _describe(result: Comparison, names: dict[int, str]) -> dict[str, Any]:
    """Describe a comparison for programs: null where a measure has no finite value."""
    from napari_medurwkv.measure.comparison import MEASURES

    classes = []
    for row in result.rows:
        name = names.get(row.overlap.value, "")
        fields = (
            {"name": name} | asdict(row.overlap) | row.values | {"hd": row.surface.hd}
        )
        fields |= {
            f"lesions_{name}": count for name, count in asdict(row.lesions).items()
        }
        fields["lesion_sensitivity"] = row.lesions.sensitivity
        fields["lesion_precision"] = row.lesions.precision
        classes.append({key: _finite(value) for key, value in fields.items()})
    mean_dice = result.mean("dice") if result.rows else 1.0
    return {
        "classes": classes,
        "mean_dice": mean_dice,
        "mean": {name: _finite(result.mean(name)) for name in MEASURES},
        "classes_in_mean": {name: result.counted(name) for name in MEASURES},
        "aji": result.aji,
        "definitions": MEASURES,
    }


def _csv(result: Comparison, unit: str, names: dict[int, str]) -> str:
    """Write one row a class and one for the mean; empty where there is no value."""
    described = _describe(result, names)
    with_unit = ("hd", "hd95", "assd")
    named = {
        key: f"{key}_{unit}" if key in with_unit else key
        for row in described["classes"]
        for key in row
    }
    stream = io.StringIO(newline="")
    columns = [column for key, column in named.items() if key != "value"]
    table = csv.DictWriter(stream, ["class", *columns], lineterminator="\n")
    table.writeheader()
    for row in described["classes"]:
        cells = {named[key]: value for key, value in row.items() if key != "value"}
        table.writerow({"class": row["value"], **cells})
    if named:
        means = {named[key]: value for key, value in described["mean"].items()}
        table.writerow({"class": "mean", **means})
    return stream.getvalue()


def _show(
    result: Comparison,
    title: str,
    names: dict[int, str],
    unit: str,
    lengths: str,
    *,
    instances: bool,
) -> None:
    table = Table(title=Text(title))
    table.add_column("Objects" if instances else "Class")
    things = "objects" if instances else "lesions"
    headings = (
        "Dice",
        "IoU",
        f"HD95, {lengths}",
        f"NSD at {result.tolerance:g} {lengths}",
        f"Predicted, {unit}",
        f"Reference, {unit}",
        f"Found {things}",
        "Invented",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in result.rows:
        add_row(
            table,
            "all together"
            if instances
            else f"{row.overlap.value} {names.get(row.overlap.value, '')}".rstrip(),
            f"{row.overlap.dice:.4f}",
            f"{row.overlap.iou:.4f}",
            _number(row.surface.hd95, ".3f"),
            _number(row.surface.nsd, ".4f"),
            f"{row.overlap.predicted:.6g}",
            f"{row.overlap.expected:.6g}",
            f"{row.lesions.found} of {row.lesions.expected}",
            str(row.lesions.invented),
        )
    if len(result.rows) > 1:
        cells = [
            _number(result.mean(name), digits)
            for name, digits in (
                ("dice", ".4f"),
                ("iou", ".4f"),
                ("hd95", ".3f"),
                ("nsd", ".4f"),
            )
        ]
        add_row(table, "mean", *cells, "", "", "", "")
    mean = result.mean("dice") if result.rows else 1.0
    table.caption = (
        f"Mean Dice {mean:.4f}"
        if result.aji is None
        else f"Aggregated Jaccard index {result.aji:.4f}"
    )
    show_table(table)


def _number(value: float, digits: str) -> str:
    return f"{value:{digits}}" if math.isfinite(value) else NOTHING


def _finite(value: Any) -> Any:
    """Return None for what JSON and tables cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lengths(geometry: Geometry) -> str:
    return "px" if geometry.unit == "pixel" else geometry.unit
