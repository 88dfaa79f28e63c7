"""Open images and masks in napari with their geometry, in display order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ApproximateGeometryError, SeriesChoiceError
from napari_medurwkv.io import LazyArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io import Image, LabelName

__all__ = ["get_reader", "image_layer", "labels_layer", "open_layers", "read_layers"]

LayerData = tuple[Any, dict[str, Any], str]
# PNG, JPEG and TIFF are left to napari.
_DICOM = (".dcm", ".dicom", ".ima")
_SUFFIXES = (
    *(".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh", ".mgz", ".mgh.gz"),
    *_DICOM,
)
# What npe2 takes for "read, and there is nothing to show".
_NOTHING: list[Any] = [(None,)]
_UNNAMED = "#ffffff"


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of medical images for napari, or None for other files."""
    paths = [path] if isinstance(path, str) else list(path)
    if paths and all(_is_ours(Path(p)) for p in paths):
        return open_layers
    return None


def open_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read files for napari; ask the user where only the user can decide.

    Parameters
    ----------
    path : str or sequence of str
        Files, or folders of DICOM files.

    Raises
    ------
    ImageError
        If one cannot be read, or something is to be decided and nobody can be asked.
    """
    from napari_medurwkv.widgets.open_questions import (
        can_ask,
        choose_series,
        take_approximate,
    )

    paths = [path] if isinstance(path, str) else _together(list(path))
    layers: list[LayerData] = []
    for name in paths:
        series: tuple[int | None, ...] = (None,)
        try:
            layers += read_layers(name)
            continue
        except SeriesChoiceError as error:
            if not can_ask():
                raise
            series = choose_series(error)
        except ApproximateGeometryError as error:
            if not can_ask():
                raise
            if take_approximate(error):
                layers += read_layers(name, approximate=True)
            continue
        for number in series:
            try:
                layers += read_layers(name, series=number)
            except ApproximateGeometryError as error:
                if take_approximate(error):
                    layers += read_layers(name, series=number, approximate=True)
    return layers or _NOTHING


def read_layers(
    path: str | Sequence[str],
    *,
    series: int | None = None,
    approximate: bool = False,
) -> list[LayerData]:
    """Read files into layer data tuples: images, and masks with names and colours.

    Parameters
    ----------
    path : str or sequence of str
        Files of `napari_medurwkv.io.supported_suffixes`, or folders.
    series, approximate
        As for `napari_medurwkv.io.read_image`.

    Raises
    ------
    ImageError
        If one cannot be read.
    """
    from napari_medurwkv.io import frame_count, is_label_file, read_image, read_labels

    paths = [path] if isinstance(path, str) else list(path)
    options: dict[str, Any] = {"series": series, "approximate": approximate}
    layers = []
    for name in paths:
        count = frame_count(name, series=series)
        if is_label_file(name, series=series):
            frames = [None] if count == 1 else range(count)
            masks = [read_labels(name, frame=frame, **options) for frame in frames]
            # Of NRRD these are layers of overlapping segments, of others times.
            if count == 1 or masks[0].geometry.source.format == "nrrd":
                layers += [labels_layer(mask) for mask in masks]
            else:
                layers.append(_label_series(masks))
            continue
        layers.append(
            image_layer(read_image(name, **options))
            if count == 1
            else _read_series(name, count, options)
        )
    return layers


def image_layer(image: Image) -> LayerData:
    """Describe an image for napari: axes upright, in millimetres, with its geometry."""
    options = _placement(image.geometry) | {"name": _name(image), "rgb": image.rgb}
    _block(options)["notes"] = list(image.notes)
    if isinstance(image.array, LazyArray):
        levels = list(image.array.levels)
        pyramid = len(levels) > 1
        return (
            (levels if pyramid else levels[0]),
            options | {"multiscale": pyramid},
            "image",
        )
    return np.ascontiguousarray(image.array), options, "image"


def labels_layer(mask: Image) -> LayerData:
    """Describe a mask for napari: placed like an image, with names and colours."""
    options = _placement(mask.geometry) | {"name": _name(mask)}
    _block(options)["notes"] = list(mask.notes)
    _block(options)["classes"] = [_as_class(label) for label in mask.classes]
    if mask.classes:
        options["colormap"] = _colormap(mask.classes)
        named = {0: "background"} | {label.value: label.name for label in mask.classes}
        options["features"] = {"index": list(named), "name": list(named.values())}
    array = np.ascontiguousarray(mask.array)
    if array.dtype.kind == "i" and array.min(initial=0) >= 0:
        array = array.astype(np.min_scalar_type(int(array.max(initial=0))))
    return array, options, "labels"


def _is_ours(path: Path) -> bool:
    if not path.is_dir():
        return path.name.lower().endswith(_SUFFIXES)
    if path.name.lower().endswith(".zarr"):
        return True
    from napari_medurwkv.io import is_dicom_folder

    return is_dicom_folder(path, deep=True)


def _together(paths: list[str]) -> list[str]:
    """Take all the DICOM files of a folder, opened as a stack, for that folder."""
    chosen = {Path(p) for p in paths}
    folders = {p.parent for p in chosen}
    if len(chosen) < 2 or len(folders) != 1:
        return paths
    folder = folders.pop()
    if any(p.is_dir() or not p.name.lower().endswith(_DICOM) for p in chosen):
        return paths
    others = {p for p in folder.iterdir() if p.name.lower().endswith(_DICOM)} - chosen
    return paths if others else [str(folder)]


def _name(image: Image) -> str:
    return f"{image.name} (approximate)" if image.geometry.approximate else image.name


def _block(options: dict[str, Any]) -> dict[str, Any]:
    from napari_medurwkv.io import METADATA_KEY

    block: dict[str, Any] = options["metadata"][METADATA_KEY]
    return block


def _as_class(label: LabelName) -> dict[str, Any]:
    """Tell a class as the cards of models do."""
    entry: dict[str, Any] = {"value": label.value, "name": label.name}
    entry["color"] = label.color
    parts = label.code.split("^")
    if len(parts) == 3:
        keys = ("scheme", "value", "meaning")
        entry["type"] = dict(zip(keys, parts, strict=True))
    return entry


def _colormap(classes: Sequence[LabelName]) -> Any:
    """Build the colours; a value without a name is white, so that it is seen."""
    from napari.utils.colormaps import DirectLabelColormap

    colors: dict[int | None, Any] = {None: _UNNAMED}
    colors.update({label.value: label.color for label in classes})
    colors[0] = "transparent"
    return DirectLabelColormap(color_dict=colors)


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


def _read_series(path: str, count: int, given: dict[str, Any]) -> LayerData:
    """Read all frames: one more axis, which comes first."""
    from napari_medurwkv.io import read_image

    first = read_image(path, frame=0, **given)
    if first.geometry.source.format == "nifti":
        frames = _nifti_frames(path, count, first.geometry)
    else:
        frames = np.empty((count, *first.array.shape), first.array.dtype)
        frames[0] = first.array
        for index in range(1, count):
            frames[index] = read_image(path, frame=index, **given).array
    _, options, kind = image_layer(replace(first, array=first.array[:0]))
    return frames, _in_time(options, first.geometry), kind


def _label_series(masks: Sequence[Image]) -> LayerData:
    """Join the frames of a mask: one more axis, which comes first."""
    first = masks[0]
    _, options, kind = labels_layer(first)
    frames = np.stack([mask.array for mask in masks])
    return frames, _in_time(options, first.geometry), kind


def _in_time(options: dict[str, Any], geometry: Geometry) -> dict[str, Any]:
    """Give the description of one frame the axis of time that all have."""
    source = replace(geometry.source, frame=None)
    _block(options)["geometry"] = replace(geometry, source=source).to_json()
    return options | {
        "scale": (1.0, *options["scale"]),
        "translate": (0.0, *options["translate"]),
        "units": ["pixel", *options["units"]],
        "axis_labels": ("t", *options["axis_labels"]),
    }


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
