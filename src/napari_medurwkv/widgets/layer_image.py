"""From a napari layer to the image that the engine takes, and back onto the layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.checks import check_image
from napari_medurwkv.io import Image, LazyArray
from napari_medurwkv.io.axes import AxesView, AxisOrder
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

LARGE_MASK = 256 << 20
"""Masks of lazy layers that take more bytes are laid on the disk."""

PICTURE = AxisOrder("YX")

LARGE = 1 << 30
"""Lazy layers of more bytes are never read as a whole, not even to find their place."""

__all__ = [
    "LayerImage",
    "LayerSnapshot",
    "find_geometry",
    "in_layer_order",
    "is_framed",
    "take_snapshot",
    "usual_order",
]


@dataclass(frozen=True, slots=True, eq=False)
class LayerSnapshot:
    """What is needed of a layer, read once in the GUI thread.

    Attributes
    ----------
    data : array-like
        Full resolution, the chosen channels of it; lazy if the layer's is.
    coarser : tuple of array-like
        The other levels of a pyramid.
    order : AxisOrder
        What the layer's axes are.
    channels : tuple of int
        Which channels were taken; empty where there is no axis of them.
    ndim : int
        Axes of the data, colour apart.
    rgb : bool
        Whether the last axis is colour, or counts several channels.
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
    order: AxisOrder = PICTURE
    channels: tuple[int, ...] = ()

    @property
    def colours(self) -> int:
        """How many channels there are, if `rgb`: three colours, or those chosen."""
        return len(self.channels) if len(self.channels) > 1 else 3

    @property
    def places(self) -> dict[int, int]:
        """Layer axes of which one point is segmented, and which: the channel's."""
        position = self.order.axis("C")
        return {} if position is None else {position: self.channels[0]}

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


def usual_order(layer: Layer) -> AxisOrder:
    """Say what a layer's axes are as long as nobody says otherwise.

    Raises
    ------
    ImageError
        If the layer has fewer than 2 or more than 5 axes.
    """
    if not 2 <= layer.ndim <= 5:
        raise ImageError(
            f"The layer {layer.name} has {layer.ndim} axes; 2D images, volumes and "
            "series of them, with channels, can be segmented, so split it first."
        )
    if is_framed(layer):
        return AxisOrder("T" + "ZYX"[-(layer.ndim - 1) :])
    return AxisOrder({2: "YX", 3: "ZYX", 4: "TZYX", 5: "TCZYX"}[layer.ndim])


def is_framed(layer: Layer) -> bool:
    """Whether our own metadata say that the first axis counts frames."""
    block = layer.metadata.get(METADATA_KEY)
    known = block.get("geometry") if isinstance(block, dict) else None
    return isinstance(known, dict) and len(known["shape"]) == layer.ndim - 1


def take_snapshot(
    layer: Layer,
    order: AxisOrder | None = None,
    channels: tuple[int, ...] = (0,),
) -> LayerSnapshot:
    """Read a layer's facts; copies no voxels.

    Parameters
    ----------
    layer : napari.layers.Layer
        An image or labels layer.
    order : AxisOrder, optional
        What its axes are, space last; `usual_order` by default.
    channels : tuple of int
        Which channels are taken, where there is an axis of them.

    Raises
    ------
    ImageError
        If the layer has fewer than 2 or more than 5 axes, or channels and colours.
    """
    order = usual_order(layer) if order is None else order
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    rgb = getattr(layer, "rgb", False)
    ndim = layer.ndim
    if order.axis("C") is None:
        channels = ()
    elif rgb:
        raise ImageError(
            f"The layer {layer.name} is in colour and has an axis of channels too: "
            "choose other axes, or split it first."
        )
    else:
        levels = tuple(_of_channels(level, order, channels) for level in levels)
        rgb, ndim = len(channels) > 1, ndim - 1
    return LayerSnapshot(
        data=levels[0],
        ndim=ndim,
        rgb=rgb,
        name=layer.name,
        state=layer.as_layer_data_tuple()[1],
        source_path=layer.source.path,
        series=order.axis("T") is not None,
        layer_id=str(layer.unique_id),
        coarser=levels[1:],
        order=order,
        channels=channels,
    )


def _of_channels(level: Any, order: AxisOrder, channels: tuple[int, ...]) -> Any:
    position = order.axis("C") or 0
    if isinstance(level, np.ndarray) and len(channels) == 1:
        return level[(*(slice(None),) * position, channels[0])]
    return AxesView(level, order, channels)


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
        data=None if _is_large(snapshot) or snapshot.channels else one,
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

    @property
    def places(self) -> dict[int, int]:
        """Layer axes of which one point is segmented, and which."""
        places = dict(self.snapshot.places)
        time = self.snapshot.order.axis("T")
        if self.frame is not None and time is not None:
            places[time] = self.frame
        return places

    def check(self, card: ModelCard) -> None:
        """Refuse an image that a model cannot segment; looks at no voxel.

        Raises
        ------
        ImageError
            With the sentence that says why.
        """
        colours = (self.snapshot.colours,) if self.snapshot.rgb else ()
        shape = self.geometry.display_shape + colours
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
        return replace(
            image, geometry=self.geometry, notes=image.notes + self._channel_note()
        )

    def _channel_note(self) -> tuple[str, ...]:
        snapshot = self.snapshot
        if not snapshot.channels:
            return ()
        chosen = ", ".join(str(c) for c in snapshot.channels)
        return (f"Of the axes {snapshot.order.letters}, channel {chosen} was taken.",)

    def _lazy_image(self) -> Image:
        snapshot, found = self.snapshot, self.layer_geometry
        ornt = found.geometry.ornt
        levels = []
        for level in (snapshot.data, *snapshot.coarser):
            one = level if self.frame is None else LazyFrame(level, self.frame)
            upright = all((i, 1) == turn for i, turn in enumerate(ornt))
            levels.append(one if upright else TurnedArray(one, ornt))
        array = LazyArray(levels, rgb=snapshot.rgb, colours=snapshot.colours)
        if array.dtype.kind not in "biuf":
            raise ImageError(
                f"The layer {snapshot.name} holds {array.dtype} values, not real "
                "numbers."
            )
        notes = found.notes + self._channel_note()
        return Image(array, self.geometry, snapshot.rgb, snapshot.name, notes)

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
        before = len(self.snapshot.order.letters) - labels.ndim
        return labels.reshape((1,) * before + labels.shape), out

    def on_disk(self, dtype: DTypeLike) -> bool:
        """Whether a mask of this image belongs on the disk: it is lazy and large."""
        size = math.prod(self.snapshot.shape) * np.dtype(dtype).itemsize
        upright = all(
            (i, 1) == turn for i, turn in enumerate(self.layer_geometry.geometry.ornt)
        )
        plain = upright and not self.places and not self.snapshot.frames
        return self.snapshot.lazy and plain and size > LARGE_MASK

    def new_series(self, dtype: DTypeLike) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Make empty masks for all frames, in one array.

        Parameters
        ----------
        dtype : dtype
            Of the labels.

        Returns
        -------
        data : ndarray
            For the labels layer: axes as the image layer has them, one channel long.
        outs : list of ndarray
            A view of each frame in display order, for the engine.
        """
        snapshot = self.snapshot
        labels = np.zeros((snapshot.frames, *snapshot.shape), dtype)
        outs = [self.layer_geometry.geometry.to_display(one) for one in labels]
        letters = snapshot.order.letters[: -len(snapshot.shape)]
        lengths = [snapshot.frames if letter == "T" else 1 for letter in letters]
        return labels.reshape((*lengths, *snapshot.shape)), outs

    def frames(self) -> list[LayerImage]:
        """Give the frames of a series one by one; itself where it is none."""
        count = self.snapshot.frames
        return [replace(self, frame=k) for k in range(count)] if count else [self]

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
