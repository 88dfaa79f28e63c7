"""``medurwkv train``: make a checkpoint; needs the optional part for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medurwkv.cli.streams import say
from napari_medurwkv.errors import MedurwkvError

__all__ = ["train"]

OPTIONAL = {"lightning", "monai", "yaml"}


def train(
    config: Annotated[Path, typer.Argument(help="YAML file with the settings.")],
    output: Annotated[
        Path, typer.Option(help="Folder of the run; made if it does not exist.")
    ] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in that folder.")
    ] = False,
) -> None:
    """Train a network and write its checkpoint."""
    try:
        from napari_medurwkv.training import train as train_network
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        raise MedurwkvError(
            f"Training needs the package {error.name}, which is not installed; run "
            'pip install "napari-medurwkv[train]".'
        ) from error
    path = train_network(config, output, resume=resume)
    say(f"The checkpoint is {path}.")
