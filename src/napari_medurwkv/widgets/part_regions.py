"""What part of an image a slice on screen or a drawn rectangle is, in display order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer, Shapes

    from napari_medurwkv.widgets.layer_image import LayerImage

__all__ = ["rectangle_region", "slice_region"]

Range = tuple[int, int]


def slice_region(viewer: Any, layer: Layer, picture: LayerImage) -> tuple[slice, ...]:
    """Return the slice of an image that is on screen.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Which axes it shows, and where it stands on the others.
    layer : Layer
        The image.
    picture : LayerImage
        The same as the engine gets it.

    Returns
    -------
    tuple of slice
        Per display axis.

    Raises
    ------
    ImageError
        If no single slice is on screen.
    """
    shape = picture.snapshot.shape
    dims = viewer.dims
    if dims.ndisplay == 3 or len(shape) < 3:
        raise ImageError("Show single slices (not the 3D view) to preview one.")
    extra = layer.ndim - len(shape)
    point = layer.world_to_data(dims.point[-layer.ndim :])[extra:]
    shown = {axis - dims.ndim + len(shape) for axis in dims.displayed}
    ranges = []
    for axis, (where, length) in enumerate(zip(point, shape, strict=True)):
        if axis in shown:
            ranges.append((0, length))
        else:
            index = min(max(round(float(where)), 0), length - 1)
            ranges.append((index, index + 1))
    return _in_display_order(ranges, picture)


def rectangle_region(
    shapes: Shapes, layer: Layer, picture: LayerImage
) -> tuple[slice, ...]:
    """Return the box around the chosen rectangle; it reaches through all slices.

    Parameters
    ----------
    shapes : Shapes
        The selected shape counts, or the last one.
    layer : Layer
        The image.
    picture : LayerImage
        The same as the engine gets it.

    Returns
    -------
    tuple of slice
        Per display axis.

    Raises
    ------
    ImageError
        If there is no rectangle, or it lies beside the image.
    """
    if not shapes.nshapes:
        raise ImageError(f"Draw a rectangle in {shapes.name}, or choose the whole.")
    number = min(shapes.selected_data) if shapes.selected_data else shapes.nshapes - 1
    if shapes.shape_type[number] != "rectangle":
        raise ImageError(
            f"The shape in {shapes.name} is no rectangle; draw one, or select it."
        )
    shape = picture.snapshot.shape
    corners = _in_image(np.asarray(shapes.data[number], float), shapes, layer)
    corners = corners[:, -len(shape) :]
    ranges = []
    for low, high, length in zip(
        corners.min(axis=0), corners.max(axis=0), shape, strict=True
    ):
        if not np.isfinite(low) or high - low < 1:
            ranges.append((0, length))  # drawn on one slice, meant for all
            continue
        # Pixel i reaches from i - 0.5 to i + 0.5.
        first, end = int(np.floor(low + 0.5)), int(np.ceil(high + 0.5))
        ranges.append((max(first, 0), min(end, length)))
    if any(first >= end for first, end in ranges):
        raise ImageError(
            f"The rectangle in {shapes.name} lies beside the image; draw it over the "
            "image."
        )
    return _in_display_order(ranges, picture)


def _in_image(corners: Any, shapes: Shapes, layer: Layer) -> Any:
    """Bring corners from one layer's data into another's; NaN for axes it lacks."""
    world = np.array([shapes.data_to_world(corner) for corner in corners])
    missing = max(0, layer.ndim - world.shape[1])
    world = np.pad(world, ((0, 0), (missing, 0)))[:, -layer.ndim :]
    inside = np.array([layer.world_to_data(point) for point in world])
    inside[:, :missing] = np.nan
    return inside


def _in_display_order(
    ranges: Sequence[Range], picture: LayerImage
) -> tuple[slice, ...]:
    shape = picture.snapshot.shape
    region = []
    for axis, sign in picture.layer_geometry.geometry.ornt:
        first, end = ranges[axis]
        if sign < 0:
            first, end = shape[axis] - end, shape[axis] - first
        region.append(slice(first, end))
    return tuple(region)
