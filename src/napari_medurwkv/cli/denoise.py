"""``medurwkv denoise``: one image to a cleaner one of the same size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# ruff: noqa: TC001, TC003 - typer reads the options
from napari_medurwkv.cli.answers import say_assumed
from napari_medurwkv.cli.options import AsJson, Device, Overwrite
from napari_medurwkv.cli.streams import (
    cancel_on_interrupt,
    only_results_on_stdout,
    progress_bar,
    say,
    show_json,
)

__all__ = ["denoise"]


def denoise(
    image: Annotated[Path, typer.Argument(help="Image to clean.")],
    target: Annotated[Path, typer.Argument(help="Image to write: .nii.gz or .nii.")],
    model: Annotated[
        str, typer.Option(help="A restoration model's name, or a checkpoint's path.")
    ],
    device: Device = "auto",
    overlap: Annotated[
        float | None,
        typer.Option(help="Of neighbouring windows, 0 to 0.95; the card's by default."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option(help="Which frame of a 4D image, from 0.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Clean one image with a restoration model, such as a Restore-RWKV.

    What it shows is the network's idea of the image: never measure or diagnose on it.
    """
    from napari_medurwkv.checkpoints.lookup import locate
    from napari_medurwkv.errors import OutputError
    from napari_medurwkv.inference import restore
    from napari_medurwkv.io.write_image import IMAGE_SUFFIXES, write_image

    if not target.name.lower().endswith(IMAGE_SUFFIXES):
        raise OutputError(
            f"An image cannot be written as {target.name}: end its name in .nii.gz or "
            ".nii."
        )
    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there already: use --overwrite to replace it.")
    with (
        only_results_on_stdout(),
        cancel_on_interrupt() as cancel,
        progress_bar(image.name) as tell,
    ):
        path = locate(model)
        say_assumed(path)
        result = restore(
            image,
            path,
            device=device,
            overlap=overlap,
            frame=frame,
            progress=tell,
            cancel=cancel,
        )
        write_image(target, result.array, result.geometry, overwrite=overwrite)
    if as_json:
        show_json(
            {
                "image": str(image),
                "restored": str(target),
                "device": result.device,
                "seconds": result.seconds,
                "shape": list(result.array.shape),
            }
        )
    say(f"Computed on {result.device} in {result.seconds:.1f} s; wrote {target}.")
    say("Research use only: what a network restored is not what was measured.")
