"""``medurwkv convert``: any checkpoint as one safe file that answers for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
from napari_medurwkv.cli.options import Overwrite
from napari_medurwkv.cli.streams import only_results_on_stdout, say

__all__ = ["convert"]


def convert(
    source: Annotated[Path, typer.Argument(help="A checkpoint of any known family.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    card: Annotated[
        Path | None, typer.Option(help="A model card, or a sidecar, as JSON.")
    ] = None,
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
    half: Annotated[
        bool, typer.Option("--half", help="Store values in half precision.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a checkpoint as .safetensors, with a card in it.

    What the file does not tell is told by options or a card; for the rest the
    defaults are taken, and named.
    """
    from dataclasses import replace

    from napari_medurwkv.checkpoints.answers import Answers
    from napari_medurwkv.checkpoints.examine import examine
    from napari_medurwkv.checkpoints.manage import convert as write
    from napari_medurwkv.checkpoints.sidecar import read_answers

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
    beside = None if card is None else read_answers(card)
    if beside is not None and beside.averaged is not None and answers is None:
        answers = replace(Answers(), averaged=beside.averaged)
    with only_results_on_stdout():
        found = examine(source, answers, tensors_only=tensors_only)
        write(
            source,
            target,
            answers,
            card=None if beside is None else beside.card,
            tensors_only=tensors_only,
            dtype="float16" if half else "float32",
            overwrite=overwrite,
        )
    say(f"{source.name} is a {found.identity.title}; wrote {target}.")
    if beside is None:
        for question in found.open_questions:
            say(f"Assumed: {question.text} {question.default}")
