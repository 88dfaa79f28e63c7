"""Options that answer what a checkpoint file does not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from napari_medurwkv.cli.streams import say

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.checkpoints.answers import Answers

__all__ = [
    "Activation",
    "Channels",
    "Classes",
    "Dimensions",
    "Intensity",
    "Norms",
    "Patch",
    "Segments",
    "TensorsOnly",
    "Weights",
    "answers_from",
    "say_assumed",
]

Norms = Annotated[
    str | None, typer.Option(help="Where blocks normalise: before or after.")
]
Channels = Annotated[
    str | None,
    typer.Option(help="Names of the image's channels, with commas; one: grey images."),
]
Intensity = Annotated[
    str | None,
    typer.Option(help="imagenet, unit, none, or a window LOW,HIGH."),
]
Activation = Annotated[str | None, typer.Option(help="softmax or sigmoid.")]
Classes = Annotated[
    str | None, typer.Option(help="Names of the outputs, in order, with commas.")
]
Patch = Annotated[
    int | None, typer.Option("--patch-size", help="Side of the window, in pixels.")
]
Dimensions = Annotated[
    int | None, typer.Option(help="2: pictures, stacks slice by slice; 3: volumes.")
]
Segments = Annotated[
    int | None,
    typer.Option(help="Variant of the operator: 0, 16, 32 or 64; by the family."),
]
Weights = Annotated[
    str | None, typer.Option(help="ema or raw, where the file has both.")
]
TensorsOnly = Annotated[
    bool,
    typer.Option(
        "--tensors-only",
        help="Take the tensors out of a file that names program parts; none is run.",
    ),
]


def answers_from(
    *,
    norms: str | None = None,
    channels: str | None = None,
    intensity: str | None = None,
    activation: str | None = None,
    classes: str | None = None,
    patch_size: int | None = None,
    dimensions: int | None = None,
    segments: int | None = None,
    weights: str | None = None,
) -> Answers | None:
    """Put the options together; None where none was given."""
    from napari_medurwkv.checkpoints.answers import Answers

    for option, value, allowed in (
        ("norms", norms, ("before", "after")),
        ("activation", activation, ("softmax", "sigmoid")),
        ("weights", weights, ("ema", "raw")),
        ("dimensions", dimensions, (2, 3)),
    ):
        if value is not None and value not in allowed:
            words = " or ".join(map(str, allowed))
            raise typer.BadParameter(f"--{option} is {words}, not {value}.")
    given = Answers(
        norms=norms,
        channels=_names(channels),
        intensity=intensity,
        activation=activation,
        classes=_names(classes),
        patch_size=patch_size,
        dimensions=dimensions,
        segments=segments,
        averaged=None if weights is None else weights == "ema",
    )
    return None if given == Answers() else given


def say_assumed(path: Path) -> None:
    """Name what was taken for granted of a checkpoint that came without a card."""
    from napari_medurwkv.checkpoints.examine import described, examine

    if described(path) is not None:
        return
    found = examine(path)
    if found.card_from != "assumed":
        return
    say(f"{path.name} has no model card; it is a {found.identity.title}.")
    for question in found.open_questions:
        say(f"Assumed: {question.text} {question.default}")
    say("'medurwkv convert' or 'medurwkv models add' answers for good.")


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))
