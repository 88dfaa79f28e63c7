"""What one image and one card make of each other: grids, sources and ways back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.probabilities import Rule
from napari_medurwkv.inference.resample import (
    Taps,
    box_taps,
    linear_taps,
    triangle_taps,
)
from napari_medurwkv.inference.sinks import Region, RowSink, VolumeSink, Writer
from napari_medurwkv.inference.slices import PlanarSource, Source, VolumeSource
from napari_medurwkv.inference.windows import WindowGrid, window_grid
from napari_medurwkv.io import LazyArray

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import ModelCard
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.inference.intensity import IntensityScale
    from napari_medurwkv.inference.slices import Standard
    from napari_medurwkv.io import Image

__all__ = ["Plan", "make_plan", "make_rule", "scaled_points", "standard_of"]

LARGEST_CHANGE = 32
"""Voxel sizes further from the working spacing than this factor are a mistake."""

Three = tuple[int, int, int]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """The work that one run consists of.

    Shapes are (planes, rows, columns): planes along the stepped axis, rows and columns
    along the other two in their order. A picture has one plane.

    Attributes
    ----------
    axis : int or None
        Display axis that is stepped; None for a picture.
    volume : bool
        Whether neighbouring planes belong together (3D cards).
    native, working : tuple of int
        Shape of the image's grid and of the grid the network works on.
    grid : WindowGrid
        The windows of each working plane.
    planes : tuple of int
        Working planes that the mask depends on, ascending; others are not computed.
    part : tuple of (int, int)
        First and end plane, row and column of the image's grid that are wanted.
    origin : tuple of int
        Working row and column from which the windows are counted.
    """

    axis: int | None
    volume: bool
    native: Three
    working: Three
    grid: WindowGrid
    planes: tuple[int, ...]
    part: tuple[Range, Range, Range]
    origin: tuple[int, int] = (0, 0)

    @property
    def display_part(self) -> tuple[tuple[int, int], ...]:
        """First and end point of what is wanted, per display axis."""
        planes, *others = self.part
        if self.axis is not None:
            others.insert(self.axis, planes)
        return tuple(others)

    @property
    def whole(self) -> bool:
        """Whether all of the image is wanted."""
        return all(p == (0, n) for p, n in zip(self.part, self.native, strict=True))

    @property
    def windows(self) -> int:
        """How many windows there are in all."""
        return len(self.planes) * len(self.grid)

    @property
    def resampled(self) -> bool:
        """Whether image and network work on different grids."""
        return self.native != self.working

    def image_array(self, image: Image) -> Any:
        """Return the image's array; of a pyramid, the level that the network needs."""
        array = image.array
        if not isinstance(array, LazyArray):
            return array
        wanted = list(self.working[1:])
        if self.axis is not None:
            # Planes of 2D models are never averaged, so all of them are needed.
            planes = self.working[0] if self.volume else self.native[0]
            wanted.insert(self.axis, min(planes, self.native[0]))
        return array.level_for(tuple(wanted))

    def source(self, image: Image, card: ModelCard, scale: IntensityScale) -> Source:
        """Return where the network's input comes from."""
        array = self.image_array(image)
        spatial = tuple(array.shape[:-1] if image.rgb else array.shape)
        native = _planes_first(spatial, self.axis)
        rows = triangle_taps(native[1], self.working[1])
        columns = triangle_taps(native[2], self.working[2])
        if self.volume and self.axis is not None:
            return VolumeSource(
                array,
                axis=self.axis,
                context=card.slice_context,
                rgb=image.rgb,
                scale=scale,
                planes=box_taps(native[0], self.working[0]),
                rows=rows,
                columns=columns,
                channels=card.network_channels,
                standard=standard_of(card),
            )
        return PlanarSource(
            array,
            stack=self.axis is not None,
            rgb=image.rgb,
            scale=scale,
            rows=rows,
            columns=columns,
            channels=card.network_channels,
            standard=standard_of(card),
        )

    def sink(self, writer: Writer) -> RowSink | VolumeSink:
        """Return what brings scores back to the image's grid."""
        rows = triangle_taps(self.working[1], self.native[1])
        columns = triangle_taps(self.working[2], self.native[2])
        if not self.whole:
            grid, (above, beside) = self.grid, self.origin
            rows = rows.part(*self.part[1], above, grid.rows.length)
            columns = columns.part(*self.part[2], beside, grid.columns.length)
        if self.volume and self.resampled:
            return VolumeSink(self.back(), rows, columns, writer, self.part[0])
        return RowSink(rows, columns, writer)

    def back(self) -> Taps:
        """Return how the image's planes come from working planes."""
        return linear_taps(self.working[0], self.native[0])

    def display_region(self, region: Region) -> tuple[slice, ...]:
        """Return a region as slices of the mask in display order."""
        above = self.part[1][0]
        rows = slice(above + region.first, above + region.end)
        columns = slice(*self.part[2])
        if self.axis is None:
            return rows, columns
        slices = [rows, columns]
        slices.insert(self.axis, slice(region.plane, region.plane + 1))
        return tuple(slices)


def standard_of(card: ModelCard) -> Standard | None:
    """Return mean and deviation of each channel, where a card states them."""
    mean, std = card.intensity.channel_mean, card.intensity.channel_std
    return None if mean is None or std is None else (mean, std)


def make_plan(
    geometry: Geometry,
    card: ModelCard,
    overlap: float,
    region: tuple[slice, ...] | None = None,
    axis: int | None = None,
) -> Plan:
    """Plan the windows for an image.

    Parameters
    ----------
    geometry : Geometry
        The image's; its display spacing decides the working grid.
    card : ModelCard
        Names the working spacing, the patch and the stepped axis.
    overlap : float
        Of neighbouring windows.
    region : tuple of slice, optional
        What is wanted of the image, per display axis; all by default. Windows and
        working grid stay those of the whole image, so the mask is the same there.
    axis : int, optional
        3D cards: display axis to step through instead of the card's. The working
        spacing turns with it: across the slices it stays what the card says of slices.

    Returns
    -------
    Plan

    Raises
    ------
    ImageError
        If the voxel size is too far from what the model works at, or the region is
        empty or outside the image.
    MedurwkvError
        If the overlap is out of range.
    """
    shape = tuple(geometry.display_shape)
    if card.dimensions == 2:
        axis = 0 if len(shape) == 3 else None
    elif axis is None:
        axis = card.slice_axis
    working = _working_shape(shape, geometry, card, axis)
    native3, working3 = _planes_first(shape, axis), _planes_first(working, axis)
    volume = card.dimensions == 3
    grid = window_grid(working3[1:], card.patch_size, overlap)
    planes, rows, columns = _ranges_first(_ranges(region, shape), axis)
    above, beside = 0, 0
    if region is not None:
        wanted = triangle_taps(working3[1], native3[1]).span(*rows)
        row_windows, above = grid.rows.part(*wanted)
        wanted = triangle_taps(working3[2], native3[2]).span(*columns)
        column_windows, beside = grid.columns.part(*wanted)
        grid = WindowGrid((row_windows, column_windows))
    if volume:
        back = linear_taps(working3[0], native3[0])
        used = back.part(*planes, 0, working3[0]).used().tolist()
    else:
        used = list(range(*planes))
    return Plan(
        axis,
        volume,
        native3,
        working3,
        grid,
        tuple(used),
        (planes, rows, columns),
        (above, beside),
    )


def _ranges(
    region: tuple[slice, ...] | None, shape: tuple[int, ...]
) -> tuple[Range, ...]:
    """First and end point of a region per display axis."""
    if region is None:
        return tuple((0, n) for n in shape)
    if len(region) != len(shape) or any(s.step not in (None, 1) for s in region):
        raise ImageError(
            f"The region has {len(region)} axes and the image {len(shape)}; give one "
            "slice without steps per axis."
        )
    ranges = tuple(s.indices(n)[:2] for s, n in zip(region, shape, strict=True))
    if any(first >= end for first, end in ranges):
        raise ImageError("The region holds no point of the image; choose another.")
    return ranges


def _working_shape(
    shape: tuple[int, ...], geometry: Geometry, card: ModelCard, axis: int | None
) -> tuple[int, ...]:
    """Points of the working grid per display axis; it ends where the image ends."""
    if card.magnification != 1:
        return (
            *shape[:-2],
            *(scaled_points(n, card.magnification) for n in shape[-2:]),
        )
    unit = geometry.mm_per_unit
    if card.spacing is None or unit is None:
        return shape  # also where nobody knows how long a pixel is
    # A 2D card says nothing about the distance of slices.
    fixed = shape[: len(shape) - len(card.spacing)]
    points = list(fixed)
    sizes = geometry.display_spacing[len(fixed) :]
    for count, size, wanted in zip(
        shape[len(fixed) :], sizes, _turned(card, axis), strict=True
    ):
        ratio = size * unit / wanted
        if not 1 / LARGEST_CHANGE <= ratio <= LARGEST_CHANGE:
            raise ImageError(
                f"A voxel of this image measures {size:g} {geometry.unit} where "
                f"{card.name} works at {wanted:g} mm; correct the voxel size."
            )
        points.append(scaled_points(count, ratio))
    return tuple(points)


def _turned(card: ModelCard, axis: int | None) -> tuple[float, ...]:
    """Working spacing per display axis where slices are cut across `axis`."""
    spacing = list(card.spacing or ())
    if card.slice_axis is not None and axis is not None:
        spacing.insert(axis, spacing.pop(card.slice_axis))
    return tuple(spacing)


def scaled_points(points: int, ratio: float) -> int:
    """Return how many points an axis has on a grid that is finer by a ratio."""
    # The tolerance keeps products such as 26 * 5.5 from falling either way.
    return max(1, math.floor(points * ratio + 0.5 + 1e-6))


def _planes_first(shape: tuple[int, ...], axis: int | None) -> Three:
    if axis is None:
        return 1, shape[0], shape[1]
    rows, columns = (n for i, n in enumerate(shape) if i != axis)
    return shape[axis], rows, columns


def _ranges_first(
    ranges: tuple[Range, ...], axis: int | None
) -> tuple[Range, Range, Range]:
    if axis is None:
        return (0, 1), ranges[0], ranges[1]
    rows, columns = (r for i, r in enumerate(ranges) if i != axis)
    return ranges[axis], rows, columns


def make_rule(
    run_id: str,
    plan: Plan,
    card: ModelCard,
    shape: tuple[int, ...],
    *,
    instances: bool,
) -> Rule:
    """Say what the probabilities of a run will mean.

    Parameters
    ----------
    run_id : str
        Of the run.
    plan : Plan
        That the mask grows with.
    card : ModelCard
        Of the network.
    shape : tuple of int
        Of the mask, in display order.
    instances : bool
        Whether objects are numbered.
    """
    recipe = card.instances if instances else None
    return Rule(
        run_id=run_id,
        shape=shape,
        box=plan.display_part,
        values=tuple(sorted(set(card.output_values))),
        activation="softmax" if card.activation == "softmax" else "sigmoid",
        threshold=card.threshold,
        axis=plan.axis,
        volume=plan.volume,
        instances=None if recipe is None else recipe.model_dump(mode="json"),
    )
