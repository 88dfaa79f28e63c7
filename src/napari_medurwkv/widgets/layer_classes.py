"""The classes of a labels layer: found when it is opened, shown when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.colormaps import DirectLabelColormap

from napari_medurwkv.correction.classes import LabelClass, next_color
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.widgets.helper_layers import is_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Labels

__all__ = [
    "MOST_CLASSES",
    "add_missing",
    "find_classes",
    "grey_image_of",
    "show_classes",
]

MOST_CLASSES = 64
"""Masks with more labels number objects; they keep napari's colours."""

_CLEAR = (0.0, 0.0, 0.0, 0.0)


def find_classes(layer: Labels, values: Sequence[int]) -> tuple[LabelClass, ...]:
    """Return the classes of a layer.

    Parameters
    ----------
    layer : Labels
        A run's layer says its classes, others name them in their features.
    values : sequence of int
        Labels that occur.

    Returns
    -------
    tuple of LabelClass
        None for a mask of numbered objects.
    """
    block = layer.metadata.get(METADATA_KEY)
    known: tuple[LabelClass, ...] = ()
    if isinstance(block, dict):
        if block.get("instances"):
            return ()
        known = tuple(
            LabelClass(int(c["value"]), str(c["name"]), str(c["color"]))
            for c in block.get("classes", ())
            if int(c["value"]) != 0
        )
    if len(set(values) | {c.value for c in known}) > MOST_CLASSES:
        return ()
    return add_missing(known, values, _feature_names(layer))


def add_missing(
    classes: Sequence[LabelClass],
    values: Sequence[int],
    names: dict[int, str] | None = None,
) -> tuple[LabelClass, ...]:
    """Add a class for every value that has none."""
    full = tuple(classes)
    have = {info.value for info in full}
    for value in sorted({int(v) for v in values} - have - {0}):
        name = (names or {}).get(value, f"label {value}")
        full = (*full, LabelClass(value, name, next_color(full)))
    return full


def show_classes(
    layer: Labels, classes: Sequence[LabelClass], only: int | None = None
) -> None:
    """Give a layer the colours and names of its classes.

    Parameters
    ----------
    layer : Labels
        Its colour map and features are replaced; nothing happens without classes.
    classes : sequence of LabelClass
        What to show.
    only : int, optional
        The one class to show; the others are clear.
    """
    if not classes:
        return
    colors: dict[int | None, Any] = {None: _CLEAR, 0: _CLEAR}
    for info in classes:
        shown = info.visible if only is None else info.value == only
        colors[info.value] = info.color if shown else _CLEAR
    layer.colormap = DirectLabelColormap(color_dict=colors)
    named = {0: "background"} | {info.value: info.name for info in classes}
    layer.features = {"index": list(named), "name": list(named.values())}


def grey_image_of(viewer: Any, layer: Labels) -> Any:
    """Return the image below a mask: in memory, grey and of its shape; else None."""
    for other in viewer.layers:
        if is_helper(other):
            continue
        if isinstance(other, Image) and not other.rgb and not other.multiscale:
            data = other.data
            if isinstance(data, np.ndarray) and data.shape == layer.data.shape:
                return data
    return None


def _feature_names(layer: Labels) -> dict[int, str]:
    features = layer.features
    if "index" not in features or "name" not in features:
        return {}
    index = np.asarray(features["index"])
    return {
        int(value): str(name)
        for value, name in zip(index, features["name"], strict=True)
    }
