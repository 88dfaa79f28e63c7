"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "AsJson",
    "Device",
    "Instances",
    "ModelName",
    "Overlap",
    "Overwrite",
    "Tta",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Instances = Annotated[
    bool, typer.Option("--instances", help="Number single objects, where it can.")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        help="Name (see `medurwkv models`) or .safetensors file; by default the one "
        "made for images of their dimensions.",
        metavar="NAME|PATH",
    ),
]
Overlap = Annotated[
    float | None,
    typer.Option(help="Of neighbouring windows, 0 to 0.95; the card's by default."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that exist.")
]
Tta = Annotated[bool, typer.Option("--tta", help="Average over mirror images; slower.")]
