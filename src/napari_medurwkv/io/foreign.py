"""The geometry of a napari layer that another reader, or nobody, gave one.

napari's scale and translate say how a layer is drawn, not where a body is; readers
disagree about axes, and some turn volumes wrongly. So a layer counts as known only if
it is our own reader's, or if its values are found, turned or not, in the file that it
came from. Knows napari's vocabulary, but does not import napari.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import GeometryError, ImageError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io.identify import identify
from napari_medurwkv.io.image import Image, clean_values
from napari_medurwkv.io.match import matching_turns
from napari_medurwkv.io.read import read_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "METADATA_KEY",
    "LayerGeometry",
    "geometry_from_layer_transform",
    "image_from_layer",
    "layer_metadata",
]

METADATA_KEY = "medurwkv"

FROM_FILE = "from the file"
FROM_SCALE = "from the layer's scale"
ASSUMED = "assumed"

# napari's (pint's) names of units, and their length in mm.
_UNITS = {
    "nanometer": ("nm", 1e-6),
    "nm": ("nm", 1e-6),
    "micrometer": ("um", 1e-3),
    "micron": ("um", 1e-3),
    "um": ("um", 1e-3),
    "µm": ("um", 1e-3),
    "millimeter": ("mm", 1.0),
    "mm": ("mm", 1.0),
    "centimeter": ("mm", 10.0),
    "cm": ("mm", 10.0),
    "meter": ("mm", 1000.0),
    "m": ("mm", 1000.0),
}
_MM_PER_UNIT = {"nm": 1e-6, "um": 1e-3, "mm": 1.0}


@dataclass(frozen=True, slots=True)
class LayerGeometry:
    """What is known of a layer's place.

    Parameters
    ----------
    geometry : Geometry
        Its source array is the LAYER's array: `Geometry.to_display` takes layer data
        to display order, `Geometry.to_source` brings labels back onto the layer.
    file_geometry : Geometry or None
        Of the file that the layer's values are in. Both geometries have the same
        display order, so labels in display order are exported with this one.
    origin : str
        Where the knowledge comes from, for a badge: "from the file", "from the
        layer's scale" or "assumed".
    notes : tuple of str
        What the user should know, one sentence each.
    """

    geometry: Geometry
    file_geometry: Geometry | None
    origin: str
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether orientation and voxel size are stated, not assumed."""
        return not self.geometry.assumed

    @property
    def export_geometry(self) -> Geometry:
        """The geometry to export with: the file's where there is one."""
        return self.file_geometry or self.geometry

    def to_file(self, array: NDArray[Any]) -> NDArray[Any]:
        """View an array that lies like the layer as the file's array lies.

        Raises
        ------
        GeometryError
            If no file is known, or the array is not of the layer's shape.
        """
        if self.file_geometry is None:
            raise GeometryError("This layer is not known to lie in any file.")
        return self.file_geometry.to_source(self.geometry.to_display(array))


def layer_metadata(geometry: Geometry) -> dict[str, Any]:
    """Return the metadata that tells `geometry_from_layer_transform` of our layers.

    Parameters
    ----------
    geometry : Geometry
        Of the image whose array, or labels, in display order are the layer's data.

    Returns
    -------
    dict
        To be merged into ``layer.metadata``.
    """
    return {METADATA_KEY: {"geometry": geometry.to_json()}}


def geometry_from_layer_transform(
    data_shape: Sequence[int],
    scale: Sequence[float] | None = None,
    translate: Sequence[float] | None = None,
    rotate: ArrayLike | None = None,
    shear: ArrayLike | None = None,
    affine: ArrayLike | None = None,
    units: Sequence[object] | None = None,
    metadata: Mapping[str, Any] | None = None,
    source_path: str | Path | None = None,
    *,
    data: NDArray[Any] | None = None,
    frame: int | None = None,
) -> LayerGeometry:
    """Find out where a layer's voxels are.

    In this order: our own metadata; the file that the layer came from, if `data` are
    the file's values, turned in whichever way; the layer's scale as a pixel size, with
    the orientation assumed.

    Parameters
    ----------
    data_shape : sequence of int
        Spatial shape of the layer, 2 or 3 numbers; without its colour axis.
    scale, translate : sequence of float, optional
        As the layer has them. Where the layer lies in the viewer says nothing of
        anatomy, so `translate` is not used.
    rotate : (n, n) array_like, optional
        The layer's rotation matrix.
    shear : array_like, optional
        The layer's shear: a matrix, or its upper triangle row by row.
    affine : (n + 1, n + 1) array_like, optional
        The layer's further transform.
    units : sequence, optional
        One per axis, names or pint units.
    metadata : mapping, optional
        ``layer.metadata``.
    source_path : str or Path, optional
        ``layer.source.path``.
    data : ndarray, optional
        The layer's data (full resolution), colour axis last. Without them the file is
        not believed. Reading the file takes as long as opening it did.
    frame : int, optional
        Which frame of its file `data` are, where that has several.

    Returns
    -------
    LayerGeometry
        See there.

    Raises
    ------
    GeometryError
        If the layer carries our metadata, but no longer has the shape they describe.
    """
    shape = tuple(int(n) for n in data_shape)
    block = (metadata or {}).get(METADATA_KEY)
    if block is not None:
        return _of_metadata(shape, block)
    notes: tuple[str, ...] = ()
    if source_path is not None and data is not None:
        found = _of_file(shape, Path(source_path), data, frame)
        if isinstance(found, LayerGeometry):
            return found
        notes = (found,) if found else ()
    return _of_scale(
        shape, _linear(len(shape), scale, rotate, shear, affine), units, notes
    )


def image_from_layer(
    layer_geometry: LayerGeometry, data: NDArray[Any], *, rgb: bool, name: str
) -> Image:
    """Make the image that the rest of the program takes of a layer's data.

    Parameters
    ----------
    layer_geometry : LayerGeometry
        As `geometry_from_layer_transform` found it for this layer.
    data : ndarray
        The layer's data; a fourth colour, alpha, is dropped.
    rgb : bool
        Whether the last axis is colour.
    name : str
        The layer's name.

    Returns
    -------
    Image
        In display order, with the file's geometry where one is known.

    Raises
    ------
    GeometryError
        If the data are not of the shape that the geometry was found for.
    ImageError
        If the data are empty or have no finite value.
    """
    values, notes = clean_values(data[..., :3] if rgb else data, f"The layer {name}")
    array = layer_geometry.geometry.to_display(values)
    geometry = layer_geometry.export_geometry
    return Image(array, geometry, rgb, name, layer_geometry.notes + notes)


def _of_metadata(shape: tuple[int, ...], block: object) -> LayerGeometry:
    if not isinstance(block, dict) or "geometry" not in block:
        raise GeometryError(
            "The layer's stored geometry is damaged: open the image again."
        )
    file_geometry = Geometry.from_json(block["geometry"])
    if file_geometry.display_shape != shape:
        raise GeometryError(
            f"The layer has shape {shape}, but the image that it came from is shown "
            f"as {file_geometry.display_shape}: it was cropped or resampled, so its "
            "place is no longer known."
        )
    same = tuple((axis, 1) for axis in range(len(shape)))
    found = _pair(file_geometry, file_geometry.display_affine, shape, same)
    return replace(found, notes=tuple(str(note) for note in block.get("notes", ())))


def _of_file(
    shape: tuple[int, ...], path: Path, data: NDArray[Any], frame: int | None
) -> LayerGeometry | str:
    """Find the layer in its file, or say why it is not there; "" needs no words."""
    try:
        if identify(path) == "zarr":
            # It knows no anatomy, so the layer's scale says all that it could; and it
            # may be larger than memory.
            return ""
        image = read_image(path, frame=frame)
    except ImageError as error:
        return f"The layer's file was not used: {error}"
    file_geometry = image.geometry
    original = file_geometry.to_source(image.array)
    turns = matching_turns(
        _as_stored(np.asarray(data), image), original, colour=image.rgb
    )
    as_it_is = tuple((axis, 1) for axis in range(len(shape)))
    upright = file_geometry.source.exif_orientation == 1
    if file_geometry.kind != "patient" and upright and as_it_is in turns:
        # Of a symmetric picture: readers of pictures turn nothing, and no side of it
        # is known to be any part of a body.
        turns = [as_it_is]
    if len(turns) != 1:
        reason = "is symmetric" if turns else "holds other values than its file"
        return (
            f"The layer {reason}, so how it lies in {path.name} cannot be told: open "
            "the file with this plugin's reader."
        )
    turn = turns[0]
    to_layer = {axis: (layer_axis, s) for layer_axis, (axis, s) in enumerate(turn)}
    ornt = tuple(
        (to_layer[axis][0], to_layer[axis][1] * sign)
        for axis, sign in file_geometry.ornt
    )
    index = np.eye(4)
    index[: len(shape), : len(shape)] = 0
    for layer_axis, (axis, sign) in enumerate(turn):
        index[axis, layer_axis] = sign
        index[axis, 3] = 0 if sign > 0 else shape[layer_axis] - 1
    return _pair(file_geometry, file_geometry.affine @ index, shape, ornt)


def _as_stored(layer: NDArray[Any], image: Image) -> NDArray[Any]:
    """Undo what readers do to colours: alpha, greys as colours, bits as booleans."""
    if image.rgb:
        return layer[..., :3]
    if layer.ndim == image.array.ndim + 1 and layer.shape[-1] in (3, 4):
        same = layer[..., 0]
        if (layer[..., 1] == same).all() and (layer[..., 2] == same).all():
            layer = same
    if layer.dtype == bool and image.array.dtype != bool:
        layer = layer.astype(image.array.dtype) * image.array.max(initial=1)
    return layer


def _pair(
    file_geometry: Geometry,
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    ornt: tuple[tuple[int, int], ...],
) -> LayerGeometry:
    """Join a file's geometry with that of its values as the layer holds them."""
    source = SourceInfo("layer", file_geometry.source.path, shape=shape)
    geometry = replace(
        file_geometry, affine=affine, shape=shape, ornt=ornt, source=source
    )
    stated = geometry.kind != "none"
    return LayerGeometry(geometry, file_geometry, FROM_FILE if stated else ASSUMED)


def _of_scale(
    shape: tuple[int, ...],
    linear: NDArray[np.float64],
    units: Sequence[object] | None,
    notes: tuple[str, ...],
) -> LayerGeometry:
    """Take the layer as it is drawn: its scale is its pixel size."""
    spacing = np.linalg.norm(linear, axis=0)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise GeometryError("The layer's scale has a zero: give every axis a size.")
    names = [str(unit) for unit in (units or ())][-len(shape) :]
    lengths = [_UNITS.get(name) for name in names]
    # A negative scale draws an axis backwards, and it is read as it is drawn.
    ornt = tuple(
        (axis, -1 if linear[axis, axis] < 0 else 1) for axis in range(len(shape))
    )
    source = SourceInfo("layer", shape=shape)
    if len(lengths) == len(shape) and all(lengths):
        stated = [length for length in lengths if length is not None]
        unit = stated[0][0]
        sizes = [
            float(size) * mm / _MM_PER_UNIT[unit]
            for size, (_, mm) in zip(spacing, stated, strict=True)
        ]
        geometry = Geometry.plain(shape, sizes, unit, ornt=ornt, source=source)
        return LayerGeometry(geometry, None, FROM_SCALE, notes)
    if np.allclose(spacing, 1):
        geometry = Geometry.plain(shape, ornt=ornt, source=source)
        return LayerGeometry(geometry, None, ASSUMED, notes)
    # Readers of volumes seldom name the unit, and mean millimetres; the scale of a
    # plane without a unit may be anything.
    unit = "mm" if len(shape) == 3 else "pixel"
    if unit == "mm":
        notes += ("The layer's scale has no unit and is taken for millimetres.",)
    geometry = Geometry.plain(
        shape, [float(size) for size in spacing], unit, ornt=ornt, source=source
    )
    return LayerGeometry(geometry, None, FROM_SCALE, notes)


def _linear(
    ndim: int,
    scale: Sequence[float] | None,
    rotate: ArrayLike | None,
    shear: ArrayLike | None,
    affine: ArrayLike | None,
) -> NDArray[np.float64]:
    """Compose the linear part as napari does: affine, rotate, shear, then scale.

    Of a layer with leading axes (time) only the last, spatial ones count.
    """
    matrix = np.eye(ndim)
    if scale is not None:
        matrix = np.diag(np.asarray(scale, dtype=np.float64)[-ndim:])
    if shear is not None:
        values = np.asarray(shear, dtype=np.float64)
        if values.ndim == 1:
            upper = np.eye((1 + math.isqrt(1 + 8 * len(values))) // 2)
            upper[np.triu_indices(len(upper), 1)] = values
            values = upper
        matrix = values[-ndim:, -ndim:] @ matrix
    if rotate is not None:
        matrix = np.asarray(rotate, dtype=np.float64)[-ndim:, -ndim:] @ matrix
    if affine is not None:
        linear = np.asarray(affine, dtype=np.float64)[:-1, :-1]
        matrix = linear[-ndim:, -ndim:] @ matrix
    return matrix
