"""``medurwkv evaluate``: how far a mask agrees with a reference."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from napari_medurwkv.cli.options import AsJson  # noqa: TC001 - typer reads it
from napari_medurwkv.cli.streams import add_row, show_json, show_table
from napari_medurwkv.errors import GeometryError

if TYPE_CHECKING:
    from napari_medurwkv.geometry import Geometry

__all__ = ["evaluate"]

SAME_PLACE = 1e-3
"""Voxel positions that differ by less, in the unit of the affine, are the same."""


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Mask to judge.")],
    reference: Annotated[Path, typer.Argument(help="Mask that is taken for right.")],
    instances: Annotated[
        bool,
        typer.Option(
            "--instances", help="The masks number objects: compute the AJI too."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a mask with a reference.

    Dice and IoU of each class; of numbered objects the aggregated Jaccard index too.
    """
    from napari_medurwkv.io import read_labels
    from napari_medurwkv.measure import agreement

    predicted, expected = read_labels(prediction), read_labels(reference)
    check_same_grid(predicted.geometry, expected.geometry)
    spacing = expected.geometry.display_spacing
    result = agreement(predicted.array, expected.array, spacing, instances=instances)
    power = "²" if expected.geometry.ndim == 2 else "³"
    unit = f"{expected.geometry.unit}{power}"
    if as_json:
        show_json(
            {
                "prediction": str(prediction),
                "reference": str(reference),
                "unit": unit,
                "classes": [asdict(entry) for entry in result.classes],
                "mean_dice": result.mean_dice,
                "aji": result.aji,
            }
        )
        return
    table = Table(title=Text(f"{prediction.name} against {reference.name}"))
    table.add_column("Objects" if instances else "Class")
    for heading in ("Dice", "IoU", f"Predicted, {unit}", f"Reference, {unit}"):
        table.add_column(heading, justify="right")
    for entry in result.classes:
        add_row(
            table,
            "all together" if instances else str(entry.value),
            f"{entry.dice:.4f}",
            f"{entry.iou:.4f}",
            f"{entry.predicted:.6g}",
            f"{entry.expected:.6g}",
        )
    table.caption = (
        f"Mean Dice {result.mean_dice:.4f}"
        if result.aji is None
        else f"Aggregated Jaccard index {result.aji:.4f}"
    )
    show_table(table)


def check_same_grid(first: Geometry, second: Geometry) -> None:
    """Refuse masks whose voxels are not at the same places.

    Raises
    ------
    GeometryError
        If shape, place, orientation or voxel size differ, or only one of them says
        where in the patient it lies.
    """
    import numpy as np

    if first.display_shape != second.display_shape:
        raise GeometryError(
            f"The masks lie on different grids, {_text(first)} and {_text(second)} "
            "voxels; resample one onto the other's grid first."
        )
    if (first.kind == "patient") != (second.kind == "patient"):
        raise GeometryError(
            "Only one of the masks says where in the patient it lies, so they cannot "
            "be compared; save both as NIfTI, or both as pictures."
        )
    if first.kind == "none" or second.kind == "none":
        return
    if first.unit != second.unit or not np.allclose(
        first.display_affine, second.display_affine, rtol=0, atol=SAME_PLACE
    ):
        raise GeometryError(
            "The masks have the same shape but lie at different places or have "
            "different voxel sizes; resample one onto the other's grid first."
        )


def _text(geometry: Geometry) -> str:
    return " x ".join(map(str, geometry.display_shape))
