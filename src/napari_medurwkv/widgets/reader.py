"""Open images in napari with their geometry, in display order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io import Image

__all__ = ["get_reader", "image_layer", "read_layers"]

LayerData = tuple[Any, dict[str, Any], str]
_SUFFIXES = (".nii", ".nii.gz")


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of NIfTI files for napari, or None for others."""
    paths = [path] if isinstance(path, str) else list(path)
    if paths and all(str(p).lower().endswith(_SUFFIXES) for p in paths):
        return read_layers
    return None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read image files into layer data tuples, one layer a file.

    Parameters
    ----------
    path : str or sequence of str
        Files of `napari_medurwkv.io.supported_suffixes`.

    Raises
    ------
    ImageError
        If one cannot be read.
    """
    from napari_medurwkv.io import frame_count, read_image

    paths = [path] if isinstance(path, str) else list(path)
    layers = []
    for name in paths:
        count = frame_count(name)
        layers.append(
            image_layer(read_image(name)) if count == 1 else _read_series(name, count)
        )
    return layers


def image_layer(image: Image) -> LayerData:
    """Describe an image for napari: axes upright, in millimetres, with its geometry."""
    options = _placement(image.geometry) | {"name": image.name, "rgb": image.rgb}
    return np.ascontiguousarray(image.array), options, "image"


def _placement(geometry: Geometry) -> dict[str, Any]:
    """Place a layer: its scale is the spacing; an oblique grid is turned upright."""
    from napari_medurwkv.io.foreign import layer_metadata

    return {
        "scale": geometry.display_spacing,
        "translate": geometry.display_translate,
        "units": [geometry.unit] * geometry.ndim,
        "axis_labels": ("z", "y", "x")[-geometry.ndim :],
        "metadata": layer_metadata(geometry),
    }


def _read_series(path: str, count: int) -> LayerData:
    """Read all frames: one more axis, which comes first."""
    from napari_medurwkv.io import read_image

    first = read_image(path, frame=0)
    if first.geometry.source.format == "nifti":
        frames = _nifti_frames(path, count, first.geometry)
    else:
        frames = np.empty((count, *first.array.shape), first.array.dtype)
        frames[0] = first.array
        for index in range(1, count):
            frames[index] = read_image(path, frame=index).array
    source = replace(first.geometry.source, frame=None)
    options = _placement(replace(first.geometry, source=source))
    options["scale"] = (1.0, *options["scale"])
    options["translate"] = (0.0, *options["translate"])
    options["units"] = ["pixel", *options["units"]]
    options["axis_labels"] = ("t", *options["axis_labels"])
    options |= {"name": first.name, "rgb": first.rgb}
    return frames, options, "image"


def _nifti_frames(path: str, count: int, geometry: Geometry) -> NDArray[Any]:
    """Read all frames at once: one by one would unpack a .nii.gz again and again."""
    import nibabel

    image = nibabel.load(path)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if (slope, intercept) == (1, 0):
        values = image.dataobj.get_unscaled()
    else:
        values = image.get_fdata(dtype=np.float32, caching="unchanged")
    values = np.asarray(values).reshape((*geometry.shape, count))
    return np.moveaxis(geometry.to_display(values), -1, 0)
