"""What no file of a family says of itself: questions, defaults, and a card of both."""

from __future__ import annotations

import datetime
import re
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_medurwkv.checkpoints.card import (
    IntensityRecipe,
    ModelCard,
)
from napari_medurwkv.checkpoints.problems import describe_problems
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.checkpoints.identify import Identity

__all__ = ["Answers", "Question", "assumed_card", "assumed_recipe", "questions"]

IMAGENET = {
    "scale": "dtype",
    "channel_mean": (0.485, 0.456, 0.406),
    "channel_std": (0.229, 0.224, 0.225),
}
_SIDES = {"RWKV-UNet": 224, "Restore-RWKV": 256, "Med-URWKV": 256}
_UPERNET_SIDE = 512
_MOST_NAMES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers to the questions of `questions`; None takes the default.

    Attributes
    ----------
    norms : {"before", "after"}, optional
        Where a block normalises, seen from its mixers.
    channels : tuple of str, optional
        Names of the image's channels. One name for a network of three channels means
        grey images, which are repeated.
    intensity : str, optional
        "imagenet", "unit" (the image's own range becomes 0 to 1), "none", or two
        numbers with a comma between them: the limits of a window.
    activation : {"softmax", "sigmoid"}, optional
    classes : tuple of str, optional
        Name of each output.
    patch_size : int, optional
        Side of the window in pixels.
    dimensions : {2, 3}, optional
        2: pictures, and stacks slice by slice.
    segments : int, optional
        Variant of the operator; see `NetworkConfig`.
    averaged : bool, optional
        Take moving averages, where the file has both.
    """

    norms: str | None = None
    channels: tuple[str, ...] | None = None
    intensity: str | None = None
    activation: str | None = None
    classes: tuple[str, ...] | None = None
    patch_size: int | None = None
    dimensions: int | None = None
    segments: int | None = None
    averaged: bool | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that no file tells.

    Attributes
    ----------
    name : str
        Field of `Answers`.
    text : str
        The question.
    default : str
        What is taken where nobody answers; "" where somebody has to.
    choices : tuple of str
        Possible answers; none: free text.
    """

    name: str
    text: str
    default: str
    choices: tuple[str, ...] = ()


def questions(identity: Identity, *, averaged: bool | None = None) -> list[Question]:
    """List what has to be asked of one who brings a file, with the defaults.

    Parameters
    ----------
    identity : Identity
        What the file is of.
    averaged : bool, optional
        Whether moving averages were taken, where the file has raw weights too.
    """
    asked = []
    if "post_norm" in identity.config:
        place = "after" if identity.config["post_norm"] else "before"
        text = "Where does a block normalise, before or after its mixers?"
        asked.append(Question("norms", text, place, ("before", "after")))
    if averaged is not None:
        text = "Take the moving averages (EMA) or the raw weights?"
        asked.append(Question("averaged", text, "ema", ("ema", "raw")))
    if identity.task not in ("segmentation", "restoration"):
        return asked
    asked.append(
        Question(
            "channels",
            "What are the image's channels?",
            ", ".join(_channels(identity) or ()),
        )
    )
    asked.append(
        Question(
            "intensity",
            "How were intensities scaled? (imagenet, unit, none, or LOW,HIGH)",
            _intensity(identity),
        )
    )
    if identity.task == "segmentation":
        names = _class_names(identity)
        shown = ", ".join(names if len(names) < 12 else (*names[:2], "…", names[-1]))
        activation = "sigmoid" if identity.outputs == 1 else "softmax"
        asked += [
            Question(
                "activation",
                "Do classes exclude each other (softmax) or not (sigmoid)?",
                activation,
                ("softmax", "sigmoid"),
            ),
            Question("classes", "What are the outputs called, in order?", shown),
        ]
    asked += [
        Question("patch_size", "Side of the window, in pixels?", str(_side(identity))),
        Question(
            "dimensions",
            "Pictures, and stacks slice by slice (2), or volumes only (3)?",
            "2",
            ("2", "3"),
        ),
    ]
    return asked


def _channels(identity: Identity) -> tuple[str, ...] | None:
    count = identity.config["in_channels"]
    if count == 1 or identity.family == "RWKV-UNet":
        return ("grey",)
    return ("red", "green", "blue") if count == 3 else None


def _intensity(identity: Identity) -> str:
    plain = identity.config["in_channels"] != 3
    unit = identity.family in ("RWKV-UNet", "Restore-RWKV") or plain
    return "unit" if unit else "imagenet"


def _class_names(identity: Identity) -> tuple[str, ...]:
    count = identity.outputs
    if count == 1:
        return ("foreground",)
    if "UPerNet" in identity.family:
        # Trained without a background.
        return tuple(f"class {number}" for number in range(1, count + 1))
    return ("background", *(f"class {number}" for number in range(1, count)))


def _side(identity: Identity) -> int:
    side = _SIDES.get(identity.family, _UPERNET_SIDE)
    return max(side, int(identity.config.get("patch_size", 1)))


def assumed_card(
    identity: Identity, path: Path, answers: Answers | None = None, **fields: Any
) -> ModelCard:
    """Describe a file that came without a card.

    Parameters
    ----------
    identity : Identity
        What the file is of: a network that gives masks or images.
    path : Path
        Of the file; gives the name.
    answers : Answers, optional
        Where the defaults are wrong.
    **fields
        Fields of the card that are known.

    Raises
    ------
    CheckpointError
        The network gives neither mask nor image, an answer is missing that has no
        default, or the answers contradict the network.
    """
    given = answers or Answers()
    if identity.task not in ("segmentation", "restoration"):
        raise CheckpointError(
            f"{path.name} is a {identity.title}: it gives {identity.task}, no mask. "
            "Start a Med-URWKV from it: name it as the encoder of 'medurwkv train'."
        )
    config = dict(identity.config)
    if given.norms is not None:
        config["post_norm"] = given.norms == "after"
    if given.segments is not None:
        config["segments"] = given.segments
    names = given.channels or _channels(identity)
    if names is None:
        raise CheckpointError(
            f"{path.name} takes {config['in_channels']} channels, and nobody said "
            "which: name them in their order with 'medurwkv convert --channels'."
        )
    repeats = len(names) == 1 and config["in_channels"] == 3
    if len(names) != config["in_channels"] and not repeats:
        raise CheckpointError(
            f"{path.name} takes {config['in_channels']} channels, not {len(names)}: "
            "name each once, in their order."
        )
    rgb = tuple(name.lower() for name in names) == ("red", "green", "blue")
    if repeats:
        names = ("red", "green", "blue")
    values = {
        "name": _slug(path.stem),
        "title": path.stem,
        "version": "unknown",
        "description": f"{identity.title}, {_outputs(identity)}, from {path.name}.",
        "limitations": (
            "The file says neither what it was trained on nor how well it does. "
            "Channels, intensities and classes were told by a user or assumed."
        ),
        "task": identity.task,
        "architecture": identity.architecture,
        "config": config,
        "dimensions": given.dimensions or 2,
        "slice_axis": 0 if given.dimensions == 3 else None,
        "modality": ("unknown",),
        "channels": [{"name": name} for name in names],
        "repeat_grey": repeats or rgb,
        "intensity": _recipe(given.intensity or _intensity(identity), path.name),
        "patch_size": (
            _side(identity) if given.patch_size is None else given.patch_size,
        )
        * 2,
        "training_data": (),
        "metrics": (),
        "authors": ("unknown",),
        "licence": "unknown",
        "date": datetime.datetime.fromtimestamp(
            path.stat().st_mtime, datetime.UTC
        ).date(),
    }
    values |= _answer_classes(identity, given, path.name)
    try:
        return ModelCard.model_validate(values | fields)
    except ValidationError as error:
        raise CheckpointError(
            f"The card of {path.name} is not valid: {describe_problems(error)}."
        ) from error


def assumed_recipe(identity: Identity) -> IntensityRecipe:
    """Return how intensities are scaled for a network that came without a card."""
    return IntensityRecipe.model_validate(_recipe(_intensity(identity), ""))


def _outputs(identity: Identity) -> str:
    if identity.task == "restoration":
        return "restores images"
    return f"{identity.outputs} output{'s' if identity.outputs > 1 else ''}"


def _slug(stem: str) -> str:
    slug = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")
    return slug or "model"


def _recipe(text: str, name: str) -> dict[str, Any]:
    if text == "imagenet":
        return dict(IMAGENET)
    if text == "unit":
        return {"scale": "percentile", "low": 0, "high": 100}
    if text == "none":
        return {"scale": "none"}
    limits = re.fullmatch(r"\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*", text)
    try:
        if limits is None:
            raise ValueError
        return {"scale": "window", "low": float(limits[1]), "high": float(limits[2])}
    except ValueError:
        raise CheckpointError(
            f"{text!r} is no way to scale the intensities of {name}: it is imagenet, "
            "unit, none, or two numbers LOW,HIGH."
        ) from None


def _answer_classes(identity: Identity, given: Answers, name: str) -> dict[str, Any]:
    if identity.task == "restoration":
        return {"activation": "none", "classes": (), "output_values": ()}
    names = given.classes or _class_names(identity)
    if len(names) != identity.outputs or len(names) > _MOST_NAMES:
        raise CheckpointError(
            f"{name} has {identity.outputs} outputs, not {len(names)}: name each class "
            "once, in the order of the outputs."
        )
    softmax = (
        given.activation or ("softmax" if len(names) > 1 else "sigmoid")
    ) == "softmax"
    first = 0 if softmax and "background" in names[0].lower() else 1
    return {
        "activation": "softmax" if softmax else "sigmoid",
        "classes": [
            {"value": value, "name": text, "color": _color(value)}
            for value, text in enumerate(names, first)
        ],
        "output_values": tuple(range(first, first + len(names))),
    }


def _color(value: int) -> str:
    """Give neighbouring values colours far from each other; 0 is black."""
    if value == 0:
        return "#000000"
    # The golden ratio never comes back to a hue that it has visited.
    red, green, blue = hsv_to_rgb(value * 0.618034 % 1, 0.65, 1 - 0.15 * (value % 3))
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))
