"""``medurwkv inspect``: what a checkpoint says of itself; its tensors stay unread."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from napari_medurwkv.cli.options import AsJson  # noqa: TC001 - typer reads it
from napari_medurwkv.cli.streams import add_row, show_json, show_table

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import ModelCard

__all__ = ["inspect"]


def inspect(
    checkpoint: Annotated[
        str, typer.Argument(help="Path of a .safetensors file, or a model's name.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show a checkpoint's card, size and digest."""
    from napari_medurwkv.checkpoints import find
    from napari_medurwkv.checkpoints.container import read_header

    entry = find(checkpoint)
    tensors = read_header(entry.path).tensors
    parameters = sum(prod(tensor.shape) for tensor in tensors.values())
    if as_json:
        show_json(
            {
                "path": str(entry.path),
                "sha256": entry.sha256,
                "size_bytes": entry.size_bytes,
                "tensors": len(tensors),
                "parameters": parameters,
                "card": entry.card.model_dump(mode="json"),
            }
        )
        return
    table = Table(title=Text(entry.card.title), show_header=False)
    table.add_column("Field", style="bold")
    table.add_column("Value", overflow="fold")
    add_row(table, "File", str(entry.path))
    add_row(table, "SHA-256", entry.sha256)
    add_row(table, "Size", f"{entry.size_bytes / 1e6:.1f} MB")
    add_row(table, "Parameters", f"{parameters:,} in {len(tensors)} tensors")
    for heading, text in _card_rows(entry.card):
        if text:
            add_row(table, heading, text)
    show_table(table)


def _card_rows(card: ModelCard) -> list[tuple[str, str]]:
    spacing = card.spacing and " x ".join(f"{size:g}" for size in card.spacing) + " mm"
    recipe = card.intensity
    limits = "" if recipe.low is None else f" {recipe.low:g} to {recipe.high:g}"
    return [
        ("Name", f"{card.name}, version {card.version}, {card.date}"),
        ("Segments", card.description),
        ("Bad at", card.limitations),
        ("Architecture", card.architecture),
        ("Images", f"{card.dimensions}D, {', '.join(card.modality)}"),
        ("Channels", ", ".join(channel.name for channel in card.channels)),
        ("Intensities", f"{recipe.scale}{limits}"),
        ("Working grid", spacing or "the image's own"),
        ("Window", f"{card.patch_size[0]} x {card.patch_size[1]} pixels"),
        ("Overlap", f"{card.overlap:g}"),
        (
            "Classes",
            "\n".join(f"{c.value}  {c.name}  {c.color}" for c in card.classes),
        ),
        ("Instances", "can be separated" if card.instances else ""),
        (
            "Training data",
            "\n".join(f"{d.name} ({d.licence})" for d in card.training_data),
        ),
        (
            "Measured",
            "\n".join(
                f"{m.name} {m.class_name + ' ' if m.class_name else ''}"
                f"{m.value:.3f} on {m.data}"
                for m in card.metrics
            ),
        ),
        ("Authors", ", ".join(card.authors)),
        ("Licence", card.licence),
        ("Citation", card.citation),
    ]
