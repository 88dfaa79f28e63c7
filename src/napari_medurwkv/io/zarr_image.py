"""OME-Zarr (NGFF 0.4 and 0.5): read an image or a mask from a local folder.

NGFF up to 0.5 knows sizes, but no anatomy: the geometry is of kind "pixel-size-only".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import GeometryError, ImageError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io.axes import AxesChoice
from napari_medurwkv.io.image import Image, clean_values
from napari_medurwkv.io.label_names import LabelName, default_color
from napari_medurwkv.io.lazy import LazyArray
from napari_medurwkv.io.limits import available_memory, check_claim

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["is_zarr", "is_zarr_label", "read_zarr", "zarr_frame_count"]

MARKERS = (".zattrs", ".zgroup", ".zarray", "zarr.json")
_UNITS = {
    "nanometer": ("nm", 1.0),
    "micrometer": ("um", 1.0),
    "millimeter": ("mm", 1.0),
    "centimeter": ("mm", 10.0),
    "meter": ("mm", 1000.0),
}
# Of free memory; what is larger is read in parts while it is segmented.
WHOLE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class _Zarr:
    """What the attributes of an image say."""

    path: Path
    levels: tuple[Any, ...]
    axes: tuple[str, ...]
    spacing: tuple[float, ...]
    unit: str
    colour: int | None
    attributes: Mapping[str, Any]

    @property
    def space(self) -> tuple[int, ...]:
        return tuple(i for i, name in enumerate(self.axes) if name in "zyx")

    @property
    def frames(self) -> int:
        time = self.axes.index("t") if "t" in self.axes else None
        return 1 if time is None else int(self.levels[0].shape[time])


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a zarr group."""
    return any((path / name).is_file() for name in MARKERS)


def read_zarr(
    path: Path,
    *,
    frame: int | None = None,
    labels: bool = False,
    channels: str | None = None,
) -> Image:
    """Read the finest level of an image or a mask.

    Parameters
    ----------
    path : Path
        The folder of an image, or of one mask in its folder ``labels``.
    frame : int, optional
        Which time point, from 0, where there are several.
    labels : bool
        Read a mask, with the colours of its values.
    channels : str, optional
        Which channels are taken, where they are no colours; as for `read_channels`.

    Returns
    -------
    Image
        An image larger than a quarter of the free memory stays on the disk: its array
        is read in parts (`LazyArray`).

    Raises
    ------
    ImageError
        If it is damaged, no image, has several channels that are no colours, or needs
        a frame and got none.
    """
    found = _open(path, several=channels is not None)
    chosen = _choose_frame(found, frame)
    shape = tuple(int(found.levels[0].shape[axis]) for axis in found.space)
    source = SourceInfo(
        "zarr",
        str(path.absolute()),
        shape=tuple(int(n) for n in found.levels[0].shape),
        frame=chosen,
    )
    try:
        geometry = Geometry.plain(shape, found.spacing, found.unit, source=source)
    except GeometryError as error:
        raise ImageError(f"{path} is damaged: {error}") from error
    rgb = found.colour is not None
    views: tuple[Any, ...] = ()
    if channels is not None:
        said = AxesChoice(channels=channels)
        letters = "".join(found.axes).upper()
        time = (chosen or 0) if "t" in found.axes else None
        views = tuple(said.view(one, letters, time, str(path)) for one in found.levels)
        rgb = views[0].ndim > len(found.space)
    name = path.name.removesuffix(".zarr").removesuffix(".ome")
    notes: tuple[str, ...] = ()
    if found.unit == "pixel":
        notes = ("The image states no unit of length; sizes are in pixels.",)
    classes = _classes(found.attributes) if labels else ()
    if (
        not labels
        and not views
        and len(found.axes) == len(found.space)
        and _is_large(found)
    ):
        notes += ("The image is read in parts, because it is larger than memory.",)
        return Image(LazyArray(found.levels), geometry, False, name, notes)  # type: ignore[arg-type]
    if views and _is_large(found):
        colours = views[0].shape[-1]
        lazy = LazyArray(views, rgb=rgb, colours=colours)
        notes += ("The image is read in parts, because it is larger than memory.",)
        return Image(lazy, geometry, rgb, name, notes)
    values = views[0][:] if views else _values(found, chosen)
    if not labels:
        values, replaced = clean_values(values, str(path))
        notes += replaced
    return Image(geometry.to_display(values), geometry, rgb, name, notes, classes)


def zarr_frame_count(path: Path) -> int:
    """Count the time points: 1 as a rule."""
    return _open(path).frames


def is_zarr_label(path: Path) -> bool:
    """Whether the attributes call it a mask ("image-label")."""
    return "image-label" in _open(path).attributes


def _open(path: Path, *, several: bool = False) -> _Zarr:
    try:
        import zarr
    except ImportError as error:
        raise ImageError(
            'OME-Zarr needs one more package: run pip install "napari-medurwkv[zarr]".'
        ) from error
    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        attributes = dict(attributes.get("ome", attributes))
        scales = attributes["multiscales"][0]
        axes = tuple(_axis_name(axis) for axis in scales["axes"])
        names = [str(entry["path"]) for entry in scales["datasets"]]
        for name in names:
            _check_codecs(path, name)
        levels = tuple(group[name] for name in names)
        spacing = _scale(scales, len(axes))
        units = [
            axis.get("unit") if isinstance(axis, dict) else None
            for axis in scales["axes"]
        ]
    except ImageError:
        raise
    except Exception as error:  # zarr raises anything on damaged attributes
        raise ImageError(
            f"{path} is no OME-Zarr image, or is damaged: its attributes describe no "
            "image that can be read."
        ) from error
    return _checked(path, levels, axes, spacing, units, attributes, several)


def _checked(
    path: Path,
    levels: tuple[Any, ...],
    axes: tuple[str, ...],
    spacing: tuple[float, ...],
    units: list[Any],
    attributes: Mapping[str, Any],
    several: bool,
) -> _Zarr:
    shape = tuple(int(n) for n in levels[0].shape)
    space = [i for i, name in enumerate(axes) if name in "zyx"]
    if len(shape) != len(axes) or [axes[i] for i in space[-2:]] != ["y", "x"]:
        raise ImageError(f"{path} is damaged: its axes are {axes}, its shape {shape}.")
    if 0 in shape:
        raise ImageError(f"{path} is empty: its shape is {shape}.")
    if np.dtype(levels[0].dtype).kind not in "biuf":
        raise ImageError(f"{path} holds {levels[0].dtype} values, not real numbers.")
    colour = axes.index("c") if "c" in axes and shape[axes.index("c")] > 1 else None
    if several:
        colour = None
    if colour is not None and not _is_rgb(attributes, shape[colour]):
        raise ImageError(
            f"{path} has {shape[colour]} channels: choose with the option channels "
            "(--channels), or save the one that is to be segmented as its own image."
        )
    known = [_UNITS.get(str(units[i]).lower()) for i in space]
    unit, sizes = "pixel", [spacing[i] for i in space]
    if all(known):
        stated = [entry for entry in known if entry is not None]
        mm = {"nm": 1e-6, "um": 1e-3, "mm": 1.0}
        unit = stated[-1][0]
        sizes = [
            size * factor * mm[name] / mm[unit]
            for size, (name, factor) in zip(sizes, stated, strict=True)
        ]
    return _Zarr(path, levels, axes, tuple(sizes), unit, colour, attributes)


def _axis_name(axis: Any) -> str:
    name = str(axis["name"] if isinstance(axis, dict) else axis).lower()
    if name not in ("t", "c", "z", "y", "x"):
        raise ValueError(name)
    return name


def _scale(scales: Any, count: int) -> tuple[float, ...]:
    """Multiply the scales of the finest level and of the whole pyramid."""
    total = np.ones(count)
    for holder in (scales["datasets"][0], scales):
        for step in holder.get("coordinateTransformations") or ():
            if step.get("type") == "scale":
                total = total * np.asarray(step["scale"], dtype=np.float64)
    return tuple(float(size) for size in total)


def _check_codecs(path: Path, name: str) -> None:
    """Refuse arrays whose packing would run code of the file's writer."""
    for marker in (".zarray", "zarr.json"):
        file = path / name / marker
        if not file.resolve().is_relative_to(path.resolve()):
            raise ImageError(f"{path} is damaged: it names arrays outside itself.")
        if file.is_file() and "pickle" in json.dumps(json.loads(file.read_text())):
            raise ImageError(
                f"{path} is packed as Python objects, which could run any program: it "
                "is not opened."
            )


def _is_rgb(attributes: Mapping[str, Any], count: int) -> bool:
    """Whether three channels are shown as pure red, green and blue."""
    channels = (attributes.get("omero") or {}).get("channels") or ()
    colours = [str(channel.get("color", "")).upper() for channel in channels]
    return count == 3 and colours == ["FF0000", "00FF00", "0000FF"]


def _is_large(found: _Zarr) -> bool:
    free = available_memory()
    return free is not None and found.levels[0].nbytes > WHOLE * free


def _choose_frame(found: _Zarr, frame: int | None) -> int | None:
    count = found.frames
    if frame is None and count > 1:
        raise ImageError(
            f"{found.path} has {count} frames: say which one to take, 0 to "
            f"{count - 1}, with the option frame (--frame)."
        )
    if frame is not None and not 0 <= frame < count:
        raise ImageError(
            f"{found.path} has no frame {frame}: its frames are 0 to {count - 1}."
        )
    return frame if count > 1 else None


def _values(found: _Zarr, frame: int | None) -> NDArray[Any]:
    """Read (space, colour)."""
    index: list[Any] = []
    kept = []
    for position, name in enumerate(found.axes):
        if position in found.space or position == found.colour:
            index.append(slice(None))
            kept.append(name)
        else:
            index.append((frame or 0) if name == "t" else 0)
    array = found.levels[0]
    shape = [
        n for n, part in zip(array.shape, index, strict=True) if part == slice(None)
    ]
    size = int(np.prod(shape, dtype=object)) * np.dtype(array.dtype).itemsize
    # Chunks that are not there are filled in, so the folder's size says nothing.
    check_claim(found.path, size, ratio=None, stored=size)
    try:
        values = np.asarray(array[tuple(index)])
    except MemoryError:
        raise
    except Exception as error:  # decoders of hostile chunks raise anything
        raise ImageError(
            f"{found.path} is damaged: a part of it cannot be unpacked."
        ) from error
    if "c" in kept:
        values = np.moveaxis(values, kept.index("c"), -1)
    return values


def _classes(attributes: Mapping[str, Any]) -> tuple[LabelName, ...]:
    label = attributes.get("image-label") or {}
    names = {}
    for entry in label.get("properties") or ():
        value = entry.get("label-value")
        name = entry.get("name") or entry.get("class")
        if isinstance(value, int) and isinstance(name, str):
            names[value] = name
    colors = {}
    for entry in label.get("colors") or ():
        value, rgba = entry.get("label-value"), entry.get("rgba")
        if isinstance(value, int) and isinstance(rgba, list) and len(rgba) >= 3:
            colors[value] = "#{:02x}{:02x}{:02x}".format(
                *(min(max(int(part), 0), 255) for part in rgba[:3])
            )
    return tuple(
        LabelName(
            value,
            names.get(value, f"label {value}"),
            colors.get(value, default_color(value)),
        )
        for value in sorted(names.keys() | colors.keys())
        if value > 0
    )
