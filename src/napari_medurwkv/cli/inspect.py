"""``medurwkv inspect``: what a checkpoint says of itself; its tensors stay unread."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from napari_medurwkv.checkpoints.wording import listed
from napari_medurwkv.cli.answers import TensorsOnly  # noqa: TC001 - typer reads it
from napari_medurwkv.cli.options import AsJson  # noqa: TC001 - typer reads it
from napari_medurwkv.cli.streams import (
    add_row,
    only_results_on_stdout,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import ModelCard
    from napari_medurwkv.checkpoints.container import Header

__all__ = ["inspect"]


def inspect(
    checkpoint: Annotated[
        str, typer.Argument(help="Path of a checkpoint file, or a model's name.")
    ],
    tensors_only: TensorsOnly = False,
    as_json: AsJson = False,
) -> None:
    """Show what a checkpoint is: family, card, size, digest, what it leaves open."""
    from napari_medurwkv.checkpoints.examine import own_header
    from napari_medurwkv.checkpoints.lookup import locate

    path = locate(checkpoint)
    header = own_header(path)
    with only_results_on_stdout():
        facts = (
            _own_facts(path, header)
            if header is not None
            else _foreign_facts(path, tensors_only)
        )
    if as_json:
        card = facts.pop("card object")
        shown = None if card is None else card.model_dump(mode="json")
        show_json(facts | {"card": shown})
        return
    _show(facts)


def _own_facts(path: Path, header: Header) -> dict[str, Any]:
    """Tell what a file with a card inside says; no torch is needed for that."""
    from napari_medurwkv.checkpoints.files import card_of

    card = card_of(header, path.name)
    shapes = [info.shape for info in header.tensors.values()]
    return _common(path, card) | {
        "format": "safetensors",
        "family": card.architecture,
        "task": card.task,
        "segments": card.config.get("segments", 0),
        "card_from": "file",
        "tensors": len(shapes),
        "parameters": sum(map(prod, shapes)),
        "container": "",
        "averaged": None,
        "stripped": [],
        "left_out": [],
        "uncertain": [],
    }


def _foreign_facts(path: Path, tensors_only: bool) -> dict[str, Any]:
    from napari_medurwkv.checkpoints.load import examine_closely

    found = examine_closely(path, tensors_only=tensors_only)
    identity = found.identity
    guessed = identity.guessed if found.card_from in ("assumed", "") else {}
    return _common(path, found.card) | {
        "format": found.format,
        "family": identity.title,
        "architecture": identity.architecture,
        "config": dict(identity.config),
        "published_size": identity.certain,
        "task": identity.task,
        "outputs": identity.outputs,
        "segments": identity.config["segments"],
        "card_from": found.card_from,
        "tensors": found.tensors,
        "parameters": found.parameters,
        "container": found.container,
        "averaged": found.averaged,
        "stripped": list(identity.stripped),
        "left_out": [*found.left_out, *identity.dropped],
        "uncertain": [
            {
                "name": q.name,
                "question": q.text,
                "assumed": q.default,
                "choices": list(q.choices),
            }
            for q in found.open_questions
        ]
        + [
            {"name": "", "question": f"The {what}?", "assumed": value, "choices": []}
            for what, value in guessed.items()
            if "norms" not in what
        ],
    }


def _common(path: Path, card: ModelCard | None) -> dict[str, Any]:
    from napari_medurwkv.checkpoints.digest import file_digest

    return {
        "path": str(path),
        "sha256": file_digest(path),
        "size_bytes": path.stat().st_size,
        "card object": card,
    }


def _show(facts: dict[str, Any]) -> None:
    card = facts["card object"]
    title = card.title if card else Path(facts["path"]).name
    table = Table(title=Text(title), show_header=False)
    table.add_column("Field", style="bold")
    table.add_column("Value", overflow="fold")
    add_row(table, "File", facts["path"])
    add_row(table, "SHA-256", facts["sha256"])
    add_row(table, "Size", f"{facts['size_bytes'] / 1e6:.1f} MB")
    count = f"{facts['parameters']:,} in {facts['tensors']} tensors"
    add_row(table, "Parameters", count)
    add_row(table, "Family", facts["family"])
    segments = facts["segments"]
    variant = f"as in kernels of {segments} segments" if segments else "the definition"
    add_row(table, "Operator", variant)
    if facts["container"]:
        kind = {True: ", moving averages", False: ", raw weights"}
        text = facts["container"] + kind.get(facts["averaged"], "")
        add_row(table, "Unwrapped", text)
    if facts["stripped"]:
        add_row(table, "Stripped", ", ".join(facts["stripped"]))
    if facts["left_out"]:
        add_row(table, "Left out", listed(facts["left_out"], ", ", 8))
    if card is None:
        add_row(table, "Gives", f"{facts['task']}: an encoder to start from, no mask")
    else:
        add_row(table, "Card from", facts["card_from"])
        for heading, text in _card_rows(card):
            if text:
                add_row(table, heading, text)
    for doubt in facts["uncertain"]:
        answer = doubt["assumed"] or "(to be answered)"
        add_row(table, "Uncertain", f"{doubt['question']} Assumed: {answer}")
    show_table(table)


def _card_rows(card: ModelCard) -> list[tuple[str, str]]:
    spacing = card.spacing and " x ".join(f"{size:g}" for size in card.spacing) + " mm"
    recipe = card.intensity
    limits = "" if recipe.low is None else f" {recipe.low:g} to {recipe.high:g}"
    return [
        ("Name", f"{card.name}, version {card.version}, {card.date}"),
        ("Does", card.description),
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
