"""``medurwkv models rank``: tell which checkpoint fits a few labelled images."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from napari_medurwkv.cli.options import AsJson  # noqa: TC001 - typer reads it
from napari_medurwkv.cli.streams import (
    add_row,
    only_results_on_stdout,
    say,
    show_json,
    show_table,
)
from napari_medurwkv.errors import ImageError, MedurwkvError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medurwkv.inference.transfer import Example

__all__ = ["rank"]

_MOST_IMAGES = 20
_SLICES = 3


def rank(
    folder: Annotated[
        Path, typer.Argument(help="Holds 'images' and 'labels', equal names.")
    ],
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="Further checkpoint to compare; may be given repeatedly."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rank checkpoints by how well their encoders tell your classes apart.

    Nothing is trained. The score is LogME (You et al., ICML 2021): the evidence of a
    linear model from an encoder's features to the labels, per pixel.
    """
    with only_results_on_stdout():
        examples = _examples(folder)
        found, failed = [], []
        for name, path in _candidates(checkpoint or []):
            try:
                found.append(
                    {"name": name, "path": str(path), **_scored(path, examples)}
                )
            except MedurwkvError as error:
                failed.append(f"{name}: {error}")
    found.sort(key=lambda entry: -entry["score"])
    for sentence in failed:
        say(f"Not compared: {sentence}")
    if as_json:
        show_json({"images": len(examples), "ranking": found, "failed": failed})
        return
    table = Table(title=f"Checkpoints by LogME on {len(examples)} pictures")
    for heading in ("", "Name", "Score", "Features"):
        table.add_column(heading)
    for place, entry in enumerate(found, 1):
        score = f"{entry['score']:.4f}"
        add_row(table, str(place), entry["name"], score, str(entry["width"]))
    show_table(table)
    say("Higher is better; the order counts, not the figure.")


def _candidates(files: list[Path]) -> Iterator[tuple[str, Path]]:
    """Go through the models at hand, the encoders that were fetched, and the files."""
    from napari_medurwkv.checkpoints import catalogue
    from napari_medurwkv.checkpoints.download import public_folder
    from napari_medurwkv.checkpoints.lookup import SUFFIXES

    seen = set()
    for entry in catalogue():
        if entry.card.task == "segmentation":
            seen.add(entry.path)
            yield entry.name, entry.path
    folder = public_folder()
    fetched = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in [*(p for p in fetched if p.suffix in SUFFIXES), *files]:
        if path not in seen and not path.name.startswith("."):
            yield path.name, path


def _scored(path: Path, examples: list[Example]) -> dict[str, Any]:
    from napari_medurwkv.checkpoints import load_model
    from napari_medurwkv.checkpoints.answers import assumed_recipe
    from napari_medurwkv.checkpoints.examine import own_header
    from napari_medurwkv.checkpoints.load import load_network
    from napari_medurwkv.inference.transfer import encoder_of, score

    if own_header(path) is not None:
        model = load_model(path)
        network, recipe = model.network, model.card.intensity
    else:
        loaded = load_network(path)
        network, card = loaded.network, loaded.examination.card
        identity = loaded.examination.identity
        recipe = assumed_recipe(identity) if card is None else card.intensity
    result = score(encoder_of(network), examples, recipe)
    return {
        "score": result.value,
        "pixels": result.pixels,
        "classes": result.classes,
        "width": result.width,
    }


def _examples(folder: Path) -> list[Example]:
    images, labels = folder / "images", folder / "labels"
    if not images.is_dir() or not labels.is_dir():
        raise ImageError(
            f"{folder} must hold two folders, 'images' and 'labels', in which an image "
            "and its mask have one name."
        )
    by_stem = {_stem(path): path for path in sorted(labels.iterdir())}
    pairs = [
        (path, by_stem[_stem(path)])
        for path in sorted(images.iterdir())
        if _stem(path) in by_stem and not path.name.startswith(".")
    ]
    if not pairs:
        raise ImageError(f"No image in {images} has a mask of its name in {labels}.")
    if len(pairs) > _MOST_IMAGES:
        say(f"Of {len(pairs)} images, {_MOST_IMAGES} are compared.")
        step = len(pairs) / _MOST_IMAGES
        pairs = [pairs[int(i * step)] for i in range(_MOST_IMAGES)]
    return [example for pair in pairs for example in _pictures(*pair)]


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def _pictures(image_path: Path, labels_path: Path) -> Iterator[Example]:
    """Read a pair; of a volume, the slices with most in them."""
    from napari_medurwkv.inference.transfer import Example
    from napari_medurwkv.io import read_image, read_labels

    image, labels = read_image(image_path), read_labels(labels_path)
    values, mask = np.asarray(image.array), np.asarray(labels.array)
    if values.shape[: mask.ndim] != mask.shape:
        raise ImageError(
            f"{labels_path.name} has shape {mask.shape} and its image "
            f"{values.shape}: they do not belong together."
        )
    if mask.ndim == 2:
        yield Example(values, mask.astype(np.int64))
        return
    filled = (mask > 0).sum((1, 2))
    for plane in np.sort(np.argsort(-filled, kind="stable")[:_SLICES]):
        yield Example(values[plane], mask[plane].astype(np.int64))
