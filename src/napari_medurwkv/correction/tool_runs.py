"""How each tool of the catalogue is called with what a request says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.correction.cut import cut_polygon
from napari_medurwkv.correction.holes import fill_holes
from napari_medurwkv.correction.interpolate import fill_between_slices
from napari_medurwkv.correction.islands import (
    keep_largest,
    keep_picked,
    remove_small,
    split_islands,
)
from napari_medurwkv.correction.logical import combine
from napari_medurwkv.correction.margin import grow, hollow, shrink
from napari_medurwkv.correction.relabel import merge_classes, swap_classes
from napari_medurwkv.correction.scribble_fix import fix_by_scribbles
from napari_medurwkv.correction.scribble_grow import grow_from_scribbles
from napari_medurwkv.correction.smooth import smooth
from napari_medurwkv.correction.split import split_at_waists, split_by_line
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.scope import Block
    from napari_medurwkv.correction.tools import Request
    from napari_medurwkv.correction.watch import Watch

LAYER, OWN_CLASS = "another layer", "another class"
"""What a class can be combined with."""


Run = Callable[["NDArray[Any]", "Block", "Request", "Watch"], "NDArray[Any]"]
"""What the catalogue calls: labels, block, request and watch give new labels."""


def _plain(tool: Callable[..., NDArray[Any]], **kinds: Callable[[Any], Any]) -> Run:
    """Call a tool that takes classes and parameters of the request's names.

    Parameters
    ----------
    tool : callable
        From labels, spacing, classes and watch to new labels.
    **kinds : callable
        From the names of its parameters to their types.
    """

    def run(
        labels: NDArray[Any], block: Block, ask: Request, watch: Watch
    ) -> NDArray[Any]:
        values = {name: kind(ask.value(name)) for name, kind in kinds.items()}
        return tool(labels, block.spacing, classes=ask.classes, watch=watch, **values)

    return run


keep_largest_islands = _plain(keep_largest, count=int)
remove_small_islands = _plain(remove_small, smallest=float, unit=str)
smooth_surfaces = _plain(smooth, method=str, mm=float)
grow_by = _plain(grow, mm=float)
shrink_by = _plain(shrink, mm=float)
hollow_out = _plain(hollow, mm=float, shell=str)


def keep_picked_island(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `keep_picked`."""
    point = block.point(ask.point or ())
    return keep_picked(labels, block.spacing, point=point, watch=watch)


def split_into_labels(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `split_islands`; new labels follow those of the whole mask."""
    return split_islands(
        labels,
        block.spacing,
        value=ask.target,
        new_values=_fresh(labels, ask),
        smallest_voxels=int(ask.value("smallest")),
        watch=watch,
    )


def fill(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `fill_holes`."""
    largest = float(ask.value("largest"))
    by_slice = bool(ask.value("per_slice")) and labels.ndim == 3
    return fill_holes(
        labels,
        block.spacing,
        classes=ask.classes,
        largest=largest if largest > 0 else None,
        unit=ask.value("unit"),
        per_slice=ask.axis if by_slice else None,
        watch=watch,
    )


def interpolate(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `fill_between_slices` along the axis on screen."""
    return fill_between_slices(
        labels, block.spacing, axis=ask.axis, classes=ask.classes, watch=watch
    )


def grow_scribbles(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `grow_from_scribbles`."""
    return grow_from_scribbles(
        labels,
        block.spacing,
        image=block.of(ask.image),
        scribbles=block.of(ask.scribbles),
        method=ask.value("method"),
        edges_mm=float(ask.value("edges_mm")),
        watch=watch,
    )


def fix_scribbles(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `fix_by_scribbles` on each slice that has strokes."""
    image, scribbles = block.of(ask.image), block.of(ask.scribbles)
    flat = labels.ndim == 2
    axis = ask.axis
    if flat:
        drawn = [0]
        labels, image, scribbles = labels[None], image[None], scribbles[None]
        axis = 0
    else:
        others = tuple(i for i in range(3) if i != axis)
        drawn = np.flatnonzero((scribbles >= 0).any(axis=others)).tolist()
        if not drawn:
            raise CorrectionError("Draw some strokes first.")
    after = labels.copy()
    spacing = block.spacing
    if not flat:
        spacing = tuple(s for i, s in enumerate(block.spacing) if i != axis)
    for k in drawn:
        box, across = list(block.box), block.axis
        if not flat:
            start = block.box[axis].start + k
            box[axis], across = slice(start, start + 1), axis
        maps, odds = None, None
        if ask.features is not None:
            maps, odds = ask.features(tuple(box), across)
        watch.at(0.0)
        index: tuple[slice | int, ...] = (*[slice(None)] * axis, k)
        after[index] = fix_by_scribbles(
            labels[index],
            spacing,
            image=image[index],
            scribbles=scribbles[index],
            features=maps,
            odds=odds,
            reach=float(ask.value("reach")),
            everywhere=bool(ask.value("everywhere")),
            watch=watch,
        )
    return after[0] if flat else after


def combine_with(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `combine` with another layer, or with another class of the mask."""
    watch.at(0)
    operation, label = ask.value("operation"), int(ask.value("label"))
    over: Sequence[int] = (0,)
    other: NDArray[np.bool_]
    if ask.value("source") == LAYER:
        drawn = block.of(ask.other)
        other = drawn == label if label else drawn != 0
    else:
        if label in (0, ask.target):
            raise CorrectionError("Choose the label of another class of this mask.")
        other = labels == label
        # It was named: what it gives, it may lose.
        over = (0, label)
    if ask.value("overwrite"):
        over = np.unique(labels).tolist()
    return combine(
        labels,
        block.spacing,
        operation=operation,
        target=ask.target,
        other=other,
        over=over,
    )


def invert(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `combine` with "invert"."""
    watch.at(0)
    return combine(labels, block.spacing, operation="invert", target=ask.target)


def merge(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `merge_classes`."""
    watch.at(0)
    into = int(ask.value("into"))
    return merge_classes(labels, block.spacing, classes=_chosen(ask), into=into)


def delete(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `merge_classes` into background."""
    watch.at(0)
    return merge_classes(labels, block.spacing, classes=_chosen(ask), into=0)


def swap(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `swap_classes`."""
    watch.at(0)
    other = int(ask.value("other"))
    return swap_classes(labels, block.spacing, first=ask.target, second=other)


def split_by_drawn_line(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `split_by_line`."""
    watch.at(0)
    points, axis = _in_plane(block, ask)
    return split_by_line(
        labels, block.spacing, points=points, axis=axis, new_value=ask.fresh
    )


def split_waists(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `split_at_waists`; new labels follow those of the whole mask."""
    watch.at(0)
    return split_at_waists(
        labels,
        block.spacing,
        value=ask.target,
        new_values=_fresh(labels, ask),
        smallest_mm=float(ask.value("smallest_mm")),
    )


def cut_with_polygon(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Run `cut_polygon`."""
    watch.at(0)
    corners, axis = _in_plane(block, ask)
    return cut_polygon(
        labels,
        block.spacing,
        corners=corners,
        axis=axis,
        side=ask.value("side"),
        classes=ask.classes,
    )


def take_result(
    labels: NDArray[Any], block: Block, ask: Request, watch: Watch
) -> NDArray[Any]:
    """Return the other layer; what of it is taken over is decided by the policy."""
    watch.at(0)
    other = block.of(ask.other)
    if np.iinfo(other.dtype).max > np.iinfo(labels.dtype).max and other.size:
        highest = int(other.max())
        if highest > np.iinfo(labels.dtype).max:
            raise CorrectionError(
                f"A mask of type {labels.dtype} cannot hold the label {highest}; "
                "convert the layer to a larger type first."
            )
    return other.astype(labels.dtype)


def _chosen(ask: Request) -> Sequence[int]:
    return (ask.target,) if ask.classes is None else ask.classes


def _fresh(labels: NDArray[Any], ask: Request) -> range:
    return range(ask.fresh, int(np.iinfo(labels.dtype).max) + 1)


def _in_plane(block: Block, ask: Request) -> tuple[list[tuple[float, ...]], int | None]:
    """Turn corners in the whole mask into corners in the plane across the cut."""
    if not ask.path:
        raise CorrectionError("Draw it over the mask first.")
    flat = block.axis is not None or len(block.box) == 2
    points = []
    for corner in ask.path:
        inside = [c - s.start for c, s in zip(corner, block.box, strict=True)]
        drop = block.axis if block.axis is not None else ask.axis
        if len(inside) == 3:
            inside = [c for axis, c in enumerate(inside) if axis != drop]
        points.append(tuple(float(c) for c in inside))
    return points, None if flat else ask.axis
