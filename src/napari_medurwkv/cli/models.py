"""``medurwkv models``: what there is, and the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

# ruff: noqa: TC001, TC003 - typer reads the options
from napari_medurwkv.cli.answers import (
    Activation,
    Channels,
    Classes,
    Dimensions,
    Intensity,
    Norms,
    Patch,
    Segments,
    TensorsOnly,
    Weights,
    answers_from,
)
from napari_medurwkv.cli.options import AsJson, Overwrite
from napari_medurwkv.cli.rank import rank
from napari_medurwkv.cli.streams import (
    add_row,
    cancel_on_interrupt,
    only_results_on_stdout,
    progress_bar,
    say,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import CatalogueEntry

__all__ = ["app"]

app = typer.Typer(
    help="List the models, and manage your own.", invoke_without_command=True
)

Name = Annotated[str, typer.Argument(help="Name of a model.")]


@app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that can be used by name, or manage your own."""
    if context.invoked_subcommand is None:
        show(as_json)


def show(as_json: bool) -> None:
    """List the models that can be used by name."""
    from napari_medurwkv.checkpoints import catalogue, unusable, user_folder

    entries, problems = catalogue(), [str(problem) for problem in unusable()]
    if as_json:
        show_json(
            {"models": [_describe(entry) for entry in entries], "unusable": problems}
        )
        return
    table = Table(title="Models")
    for heading in ("Name", "Segments", "Images", "Classes", "Size", "Licence"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        card = entry.card
        add_row(
            table,
            entry.name,
            card.title,
            f"{card.dimensions}D, {', '.join(card.modality)}",
            ", ".join(info.name for info in card.foreground),
            f"{entry.size_bytes / 1e6:.1f} MB",
            card.licence,
        )
    show_table(table)
    for problem in problems:
        say(f"Not usable: {problem}")
    say(f"Further checkpoints are looked for in {user_folder()}.")


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="A checkpoint of any known family.")],
    name: Annotated[str, typer.Option(help="What to call it.")] = "",
    norms: Norms = None,
    channels: Channels = None,
    intensity: Intensity = None,
    activation: Activation = None,
    classes: Classes = None,
    patch_size: Patch = None,
    dimensions: Dimensions = None,
    segments: Segments = None,
    weights: Weights = None,
    tensors_only: TensorsOnly = False,
    as_json: AsJson = False,
) -> None:
    """Copy a checkpoint into your folder, with a card that answers for it."""
    from napari_medurwkv.checkpoints import manage
    from napari_medurwkv.checkpoints.examine import described, examine

    answers = answers_from(
        norms=norms,
        channels=channels,
        intensity=intensity,
        activation=activation,
        classes=classes,
        patch_size=patch_size,
        dimensions=dimensions,
        segments=segments,
        weights=weights,
    )
    with only_results_on_stdout():
        assumed: tuple[Any, ...] = ()
        if described(file) is None:
            found = examine(file, answers, tensors_only=tensors_only)
            assumed = found.open_questions if found.card_from == "assumed" else ()
        entry = manage.add(file, answers, name=name, tensors_only=tensors_only)
    if as_json:
        show_json(_describe(entry))
    say(f"Added {entry.name}: {entry.path}.")
    for question in assumed:
        say(f"Assumed: {question.text} {question.default}")


@app.command("rename")
def rename(
    name: Name, new_name: Annotated[str, typer.Argument(help="Its new name.")]
) -> None:
    """Give one of your models another name."""
    from napari_medurwkv.checkpoints import manage

    say(f"{name} is now {manage.rename(name, new_name).name}.")


@app.command("remove")
def remove(name: Name) -> None:
    """Delete one of your models."""
    from napari_medurwkv.checkpoints import manage

    say(f"Deleted {manage.remove(name)}.")


@app.command("export")
def export(
    name: Name,
    target: Annotated[Path, typer.Argument(help="File or folder to write to.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a model as one file, to pass on."""
    from napari_medurwkv.checkpoints import find, manage

    say(f"Wrote {manage.export(name, target, overwrite=overwrite)}.")
    licence = find(name).card.licence
    say(f"Licence of its weights: {licence}. Look whether it lets you pass them on.")


@app.command("public")
def public(as_json: AsJson = False) -> None:
    """List the public checkpoints that can be fetched or brought."""
    from napari_medurwkv.checkpoints.public import public_checkpoints

    entries = public_checkpoints()
    if as_json:
        show_json([entry.model_dump(mode="json") for entry in entries])
        return
    table = Table(title="Public checkpoints")
    for heading in ("Name", "What it is", "Size", "Licence", "Where"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        size = f"{entry.size_bytes / 1e6:.0f} MB" if entry.size_bytes else ""
        add_row(
            table,
            entry.name,
            f"{entry.title}. {entry.description}",
            size,
            entry.licence,
            entry.address,
        )
    show_table(table)


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="Name of a public checkpoint.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="The licence shown is accepted.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no network: only what is here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a public checkpoint; an interrupted download goes on."""
    from napari_medurwkv.checkpoints.download import fetch, licence_notice
    from napari_medurwkv.checkpoints.public import public_checkpoint
    from napari_medurwkv.inference import Progress

    entry = public_checkpoint(name)
    say(licence_notice(entry))
    with (
        only_results_on_stdout(),
        cancel_on_interrupt() as cancel,
        progress_bar(entry.file) as tell,
    ):
        fetched = fetch(
            entry,
            accept_licence=accept_licence,
            offline=offline,
            progress=lambda done, total: tell(Progress(done, total, None, 0.0)),
            cancel=cancel,
        )
    if as_json:
        show_json(
            {
                "path": str(fetched.path),
                "sha256": fetched.sha256,
                "verified": fetched.verified,
            }
        )
    how = "as published" if fetched.verified else "no published digest to compare"
    say(f"{fetched.path}, SHA-256 {fetched.sha256} ({how}).")


app.command("rank")(rank)


def _describe(entry: CatalogueEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "path": str(entry.path),
        "sha256": entry.sha256,
        "size_bytes": entry.size_bytes,
        "embedded": entry.embedded,
        "card": entry.card.model_dump(mode="json"),
    }
