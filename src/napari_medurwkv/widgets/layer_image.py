"""From a napari layer to the image that the engine takes, and back onto the layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.checks import check_image
from napari_medurwkv.io import Image, LazyArray
from napari_medurwkv.io.foreign import (
    METADATA_KEY,
    geometry_from_layer_transform,
    image_from_layer,
)
from napari_medurwkv.io.turned import LazyFrame, TurnedArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Layer
    from numpy.typing import DTypeLike, NDArray

    from napari_medurwkv.checkpoints import CatalogueEntry, ModelCard
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io.foreign import LayerGeometry

LARGE = 1 << 30
"""Lazy layers of more bytes are never read as a whole, not even to find their place."""

__all__ = [
    "LayerImage",
    "LayerSnapshot",
    "find_geometry",
    "in_layer_order",
    "take_snapshot",
]


@dataclass(frozen=True, slots=True, eq=False)
class LayerSnapshot:
    """What is needed of a layer, read once in the GUI thread.

    Attributes
    ----------
    data : array-like
        Full resolution; lazy if the layer's is.
    coarser : tuple of array-like
        The other levels of a pyramid.
    ndim : int
        Axes of the layer, colour apart.
    rgb : bool
        Whether the last axis is colour.
    name : str
        Of the layer.
    state : mapping
        napari's public layer state: transforms, units, metadata.
    source_path : str or None
        File that the layer came from.
    series : bool
        Whether the first axis counts frames.
    layer_id : str
        The layer's unique id.
    """

    data: Any
    ndim: int
    rgb: bool
    name: str
    state: Mapping[str, Any]
    source_path: str | None
    series: bool
    layer_id: str
    coarser: tuple[Any, ...] = ()

    @property
    def lazy(self) -> bool:
        """Whether the voxels are not in memory, nor in one file."""
        return not isinstance(self.data, np.ndarray)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of what is segmented: of one frame where there are several."""
        shape = tuple(int(n) for n in self.data.shape[: self.ndim])
        return shape[1:] if self.frames else shape

    @property
    def frames(self) -> int:
        """Number of frames of a series; 0 for a single image."""
        return int(self.data.shape[0]) if self.series else 0


def take_snapshot(layer: Layer) -> LayerSnapshot:
    """Read a layer's facts; copies no voxels.

    Raises
    ------
    ImageError
        If the layer has fewer than 2 or more than 4 axes.
    """
    if not 2 <= layer.ndim <= 4:
        raise ImageError(
            f"The layer {layer.name} has {layer.ndim} axes; 2D images, volumes and "
            "series of volumes can be segmented, so split it first."
        )
    block = layer.metadata.get(METADATA_KEY)
    known = block.get("geometry") if isinstance(block, dict) else None
    framed = isinstance(known, dict) and len(known["shape"]) == layer.ndim - 1
    return LayerSnapshot(
        data=layer.data[0] if layer.multiscale else layer.data,
        ndim=layer.ndim,
        rgb=getattr(layer, "rgb", False),
        name=layer.name,
        state=layer.as_layer_data_tuple()[1],
        source_path=layer.source.path,
        series=layer.ndim == 4 or framed,
        layer_id=str(layer.unique_id),
        coarser=tuple(layer.data[1:]) if layer.multiscale else (),
    )


def find_geometry(snapshot: LayerSnapshot) -> LayerGeometry:
    """Find where a layer's voxels are; may read its file, so it belongs into a thread.

    Raises
    ------
    GeometryError
        If the layer carries our metadata but no longer has the shape they describe.
    """
    state = snapshot.state
    # One frame tells of all: they lie on one grid.
    one = snapshot.data[0] if snapshot.frames else snapshot.data
    return geometry_from_layer_transform(
        snapshot.shape,
        **{key: state[key] for key in ("scale", "rotate", "shear", "affine", "units")},
        metadata=state["metadata"],
        source_path=snapshot.source_path,
        data=None if _is_large(snapshot) else one,
        frame=0 if snapshot.frames else None,
    )


def _is_large(snapshot: LayerSnapshot) -> bool:
    """Whether a lazy layer is too large to be compared with its file."""
    size = math.prod(snapshot.data.shape) * np.dtype(snapshot.data.dtype).itemsize
    return snapshot.lazy and size > LARGE


@dataclass(frozen=True, slots=True, eq=False)
class LayerImage:
    """A layer, or one frame of it, with its geometry.

    Attributes
    ----------
    snapshot : LayerSnapshot
        What was read of the layer.
    layer_geometry : LayerGeometry
        As `find_geometry` found it.
    frame : int or None
        Which frame of a series.
    """

    snapshot: LayerSnapshot
    layer_geometry: LayerGeometry
    frame: int | None = None

    @property
    def geometry(self) -> Geometry:
        """Of the image in display order, with the file's grid where one is known."""
        geometry = self.layer_geometry.export_geometry
        if self.frame is None:
            return geometry
        return replace(geometry, source=replace(geometry.source, frame=self.frame))

    def check(self, card: ModelCard) -> None:
        """Refuse an image that a model cannot segment; looks at no voxel.

        Raises
        ------
        ImageError
            With the sentence that says why.
        """
        shape = self.geometry.display_shape + ((3,) if self.snapshot.rgb else ())
        stand_in = np.broadcast_to(np.zeros((), self.snapshot.data.dtype), shape)
        rgb, name = self.snapshot.rgb, self.snapshot.name
        check_image(Image(stand_in, self.geometry, rgb, name), card)

    def read(self) -> Image:
        """Make the engine's image; what is lazy stays so.

        Raises
        ------
        ImageError
            If the layer is empty, has no finite value or does not fit into memory.
        """
        snapshot = self.snapshot
        if snapshot.lazy:
            return self._lazy_image()
        data = snapshot.data if self.frame is None else snapshot.data[self.frame]
        try:
            image = image_from_layer(
                self.layer_geometry,
                np.asarray(data),
                rgb=snapshot.rgb,
                name=snapshot.name,
            )
        except MemoryError as error:
            raise ImageError(
                f"The layer {snapshot.name} does not fit into memory: crop it or use a "
                "lower resolution."
            ) from error
        return replace(image, geometry=self.geometry)

    def _lazy_image(self) -> Image:
        snapshot, found = self.snapshot, self.layer_geometry
        ornt = found.geometry.ornt
        levels = []
        for level in (snapshot.data, *snapshot.coarser):
            one = level if self.frame is None else LazyFrame(level, self.frame)
            upright = all((i, 1) == turn for i, turn in enumerate(ornt))
            levels.append(one if upright else TurnedArray(one, ornt))
        array = LazyArray(levels, rgb=snapshot.rgb)
        if array.dtype.kind not in "biuf":
            raise ImageError(
                f"The layer {snapshot.name} holds {array.dtype} values, not real "
                "numbers."
            )
        return Image(array, self.geometry, snapshot.rgb, snapshot.name, found.notes)

    def new_labels(self, dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Make an empty mask.

        Parameters
        ----------
        dtype : dtype
            Of the labels.

        Returns
        -------
        data : ndarray
            For the labels layer: axes as the image layer has them; one frame long where
            the image is a series.
        out : ndarray
            A view of it in display order, for the engine.
        """
        labels = np.zeros(self.snapshot.shape, dtype)
        out = self.layer_geometry.geometry.to_display(labels)
        return (labels if self.frame is None else labels[None]), out

    def mask_metadata(self, entry: CatalogueEntry, instances: bool) -> dict[str, Any]:
        """Return what the labels layer carries; the run completes it."""
        card = entry.card
        block = {
            "geometry": in_layer_order(self.geometry, self.layer_geometry).to_json(),
            "frame": self.frame,
            "image": {"name": self.snapshot.name, "id": self.snapshot.layer_id},
            "model": {"name": card.name, "title": card.title, "version": card.version},
            "classes": [info.model_dump(mode="json") for info in card.classes],
            "instances": instances,
            "record": None,
            "complete": False,
            "fraction": 0.0,
        }
        return {METADATA_KEY: block}


def in_layer_order(geometry: Geometry, layer_geometry: LayerGeometry) -> Geometry:
    """Return an image's geometry with the layer's axes for display axes.

    Other readers turn an array in their own way. A mask on such a layer is turned
    likewise, so what it carries has to lead from that order to the file.

    Parameters
    ----------
    geometry : Geometry
        `LayerGeometry.export_geometry`, or the same for one frame.
    layer_geometry : LayerGeometry
        Of the layer.
    """
    ornt = [(0, 1)] * geometry.ndim
    pairs = zip(geometry.ornt, layer_geometry.geometry.ornt, strict=True)
    for (file_axis, file_sign), (layer_axis, layer_sign) in pairs:
        ornt[layer_axis] = (file_axis, file_sign * layer_sign)
    return replace(geometry, ornt=tuple(ornt))
