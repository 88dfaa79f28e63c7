"""The labels layer of a run: where it lies, how it looks, what it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_medurwkv.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import ClassInfo

__all__ = [
    "SPATIAL_KEYS",
    "class_colormap",
    "class_features",
    "labels_dtype",
    "make_labels_layer",
    "object_features",
    "spatial_state",
]

# Everything that decides where napari draws a layer. All of it, or the mask shifts.
SPATIAL_KEYS = (
    "affine",
    "scale",
    "translate",
    "rotate",
    "shear",
    "units",
    "axis_labels",
)
_CLEAR = (0.0, 0.0, 0.0, 0.0)


def spatial_state(
    layer: Layer, places: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """Copy what decides where a layer is drawn.

    Parameters
    ----------
    layer : napari.layers.Layer
        The image.
    places : mapping of int to int, optional
        Positions on some of its axes, such as those of times and channels: there lies
        index 0 of the new layer.

    Returns
    -------
    dict
        Keyword arguments for a layer of the same number of axes.

    Raises
    ------
    GeometryError
        If a shear of such an axis keeps one frame from having a place of its own.
    """
    state = layer.as_layer_data_tuple()[1]
    copied = {key: state[key] for key in SPATIAL_KEYS}
    first = np.zeros(layer.ndim)
    translate = np.asarray(copied["translate"], dtype=float)
    for axis, index in (places or {}).items():
        first[axis] = index
        direction = np.asarray(copied["rotate"], dtype=float)[:, axis]
        translate = translate + index * direction * float(copied["scale"][axis])
    if not first.any():
        return copied
    copied["translate"] = translate
    probe = Labels(np.zeros((1,) * layer.ndim, dtype=np.uint8), **copied)
    there = probe.data_to_world(np.zeros(layer.ndim))
    if not np.allclose(there, layer.data_to_world(first)):
        raise GeometryError(
            "The frames of this layer are sheared against each other, so a mask of one "
            "has no place: remove the layer's shear, or split the series."
        )
    return copied


def labels_dtype(classes: Sequence[ClassInfo], *, instances: bool) -> np.dtype[Any]:
    """Return the smallest type that napari draws fast and that holds the labels."""
    if instances:
        return np.dtype(np.int32)
    highest = max(info.value for info in classes)
    return np.dtype(np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)


def class_colormap(classes: Sequence[ClassInfo]) -> DirectLabelColormap:
    """Build the colour of every class; background and unknown values are clear."""
    colors: dict[int | None, Any] = {None: _CLEAR}
    colors.update({info.value: info.color for info in classes})
    colors[0] = _CLEAR
    return DirectLabelColormap(color_dict=colors)


def class_features(classes: Sequence[ClassInfo]) -> dict[str, list[Any]]:
    """Build the table by which napari names the class under the pointer."""
    named = {0: "background"} | {info.value: info.name for info in classes}
    return {"index": list(named), "name": list(named.values())}


def object_features(name: str, highest: int) -> dict[str, list[Any]]:
    """Build the table by which napari names the object under the pointer."""
    return {
        "index": list(range(highest + 1)),
        "name": ["background", *(f"{name} {i}" for i in range(1, highest + 1))],
    }


def make_labels_layer(
    data: NDArray[Any],
    *,
    name: str,
    spatial: dict[str, Any],
    classes: Sequence[ClassInfo],
    instances: bool,
    metadata: dict[str, Any],
) -> Labels:
    """Make the layer that a run fills; it cannot be edited until that is over.

    Parameters
    ----------
    data : ndarray
        The array that the run fills in place.
    name : str
        Of the layer.
    spatial : dict
        As `spatial_state` gives it.
    classes : sequence of ClassInfo
        With names and colours.
    instances : bool
        Whether objects will be numbered; they then get napari's cyclic colours.
    metadata : dict
        What the layer carries.
    """
    looks: dict[str, Any] = {}
    if not instances:
        looks["colormap"] = class_colormap(classes)
    layer = Labels(
        data,
        name=name,
        metadata=metadata,
        features=class_features(classes),
        **looks,
        **spatial,
    )
    layer.editable = False
    return layer
