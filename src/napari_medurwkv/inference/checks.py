"""Whether an image, a card and an output array fit together, said in sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import GeometryError, ImageError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medurwkv.checkpoints import ModelCard
    from napari_medurwkv.io import Image

__all__ = ["check_channels", "check_image", "check_out"]


def check_image(image: Image, card: ModelCard) -> None:
    """Refuse an image that the card's model cannot segment.

    A 2D model on a 3D stack is welcome: the stack is segmented slice by slice.

    Raises
    ------
    ImageError
        If the image is empty, holds no real numbers, is 2D for a 3D model, or has
        other channels than the model.
    GeometryError
        If array and geometry have different shapes.
    """
    shape = tuple(image.array.shape)
    spatial = shape[:-1] if image.rgb else shape
    if spatial != tuple(image.geometry.display_shape) or (image.rgb and shape[-1] < 2):
        raise GeometryError(
            f"The image has the shape {shape}, its geometry says "
            f"{tuple(image.geometry.display_shape)}; read the image again."
        )
    if not math.prod(shape):
        raise ImageError(f"The image is empty: its shape is {shape}.")
    dtype = np.dtype(image.array.dtype)
    if dtype.kind not in "biuf":
        raise ImageError(
            f"The image holds values of type {dtype}; convert it to real numbers first."
        )
    if len(spatial) < card.dimensions:
        raise ImageError(
            f"{card.name} segments 3D volumes and this image is 2D; "
            + _choose(lambda c: c.dimensions == 2)
        )
    check_channels(image, card)


def check_channels(image: Image, card: ModelCard) -> None:
    """Refuse an image whose channels are not those of the model.

    Raises
    ------
    ImageError
        With the sentence that says what to do.
    """
    wanted = len(card.channels)
    count = int(image.array.shape[-1]) if image.rgb else 1
    if image.rgb and count != 3 and count != wanted:
        names = ", ".join(c.name for c in card.channels)
        raise ImageError(
            f"{count} channels are chosen and {card.name} takes {wanted} ({names}); "
            "choose as many, in that order."
        )
    if image.rgb and wanted != 3:
        raise ImageError(
            f"This image is RGB and {card.name} takes images of "
            f"{wanted} channel{'s' if wanted > 1 else ''}; convert it to grey, or "
            + _choose(lambda c: len(c.channels) == 3)
        )
    if not image.rgb and wanted > 1 and not card.repeat_grey:
        names = ", ".join(c.name for c in card.channels)
        raise ImageError(
            f"This image is grey and {card.name} takes {wanted} channels ({names}); "
            + _choose(lambda c: len(c.channels) == 1 or c.repeat_grey)
        )


def _choose(fits: Callable[[ModelCard], bool]) -> str:
    """Name the embedded models that would do."""
    from napari_medurwkv.checkpoints import catalogue

    names = [entry.name for entry in catalogue() if fits(entry.card)]
    if not names:
        return "none of the embedded models takes it."
    return f"choose another model, such as {' or '.join(names)}."


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Refuse an output array that the mask does not fit into.

    Raises
    ------
    OutputError
        If shape or type differ, or the array is read-only.
    """
    if tuple(out.shape) != shape or np.dtype(out.dtype) != dtype:
        raise OutputError(
            f"The output array has the shape {tuple(out.shape)} and type {out.dtype}; "
            f"this mask needs {shape} and {dtype}."
        )
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise OutputError("The output array is read-only; pass one that is not.")
    return out
