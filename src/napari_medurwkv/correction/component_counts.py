"""How many islands each class has, kept up to date plane by plane.

A class's islands are the connected components of a graph: its nodes are the components
of single planes of the first axis, its edges join those that touch from one plane to
the next. An edit changes only the nodes and edges of its planes, so after a stroke
three planes are looked at instead of the volume, and the number is exact all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label as label_equal

from napari_medurwkv.correction.watch import SILENT, Watch

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

__all__ = ["Parts", "count_components", "find_parts", "mismatched"]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Components of one plane, and how they touch those of the next.

    Attributes
    ----------
    values : ndarray of int64, shape (parts,)
        Class of each component.
    links : ndarray of int64, shape (links, 2)
        Pairs of a component of this plane and one of the next that touch.
    """

    values: NDArray[np.int64]
    links: NDArray[np.int64]


def find_parts(
    labels: Any,
    known: Mapping[int, Parts] | None = None,
    changed: Collection[int] | None = None,
    watch: Watch = SILENT,
) -> dict[int, Parts]:
    """Find the components of all planes, or of those that changed.

    Parameters
    ----------
    labels : array-like of integers
        2D or 3D mask, read plane by plane, so it may be lazy; of a 2D mask, all of it
        is one plane. Voxels that share a face belong together.
    known : mapping of int to Parts, optional
        What was found before, per plane.
    changed : collection of int, optional
        Planes that have changed since; needed with `known`.
    watch : Watch
        Told of each plane.

    Returns
    -------
    dict of int to Parts
        Of every plane; `known` is left as it is.
    """
    planes = labels.shape[0] if labels.ndim == 3 else 1
    parts = dict(known or {})
    stale = set(range(planes)) if known is None else set(changed or ())
    # What touches a plane is kept with the plane before it.
    todo = sorted({k for s in stale for k in (s - 1, s) if 0 <= k < planes})
    plane: NDArray[Any] = np.zeros((0, 0), np.uint8)
    numbers: NDArray[np.int64] = np.zeros((0, 0), np.int64)
    at = -1
    for done, k in enumerate(todo):
        watch.at(done / len(todo))
        if at != k:
            plane, numbers = _number(labels, k)
        values = _values(plane, numbers)
        links = np.zeros((0, 2), np.int64)
        if k + 1 < planes:
            next_plane, next_numbers = _number(labels, k + 1)
            links = _links(plane, numbers, next_plane, next_numbers)
            plane, numbers, at = next_plane, next_numbers, k + 1
        parts[k] = Parts(values, links)
    watch.at(1.0)
    return parts


def mismatched(parts: Mapping[int, Parts]) -> set[int]:
    """Return planes whose links do not fit, as they were painted on meanwhile.

    A stroke under way changes a plane before anybody says so; what touches it was then
    found for another state of it.
    """
    odd = set()
    for k, part in parts.items():
        if not len(part.links):
            continue
        here, there = part.links.max(axis=0)
        if here >= len(part.values) or there >= len(parts[k + 1].values):
            odd |= {k, k + 1}
    return odd


def count_components(parts: Mapping[int, Parts]) -> dict[int, int]:
    """Count the islands of every class.

    Parameters
    ----------
    parts : mapping of int to Parts
        Of every plane, as `find_parts` gives them.

    Returns
    -------
    dict of int to int
        From class to number of islands; classes that do not occur are left out.
    """
    planes = sorted(parts)
    sizes = [len(parts[k].values) for k in planes]
    starts = dict(
        zip(planes, np.concatenate(([0], np.cumsum(sizes)))[:-1].tolist(), strict=True)
    )
    total = sum(sizes)
    if not total:
        return {}
    links = np.concatenate(
        [
            parts[k].links + np.asarray([starts[k], starts.get(k + 1, 0)])
            for k in planes
            if len(parts[k].links)
        ]
        or [np.zeros((0, 2), np.int64)]
    )
    ones = np.ones(len(links), bool)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), shape=(total, total))
    count, member = connected_components(graph, directed=False)
    values = np.concatenate([parts[k].values for k in planes])
    class_of = np.zeros(count, np.int64)
    class_of[member] = values  # all nodes of an island are of one class
    found, counts = np.unique(class_of, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _number(labels: Any, k: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    # A copy: somebody may paint on the mask meanwhile.
    plane = np.array(labels[k] if labels.ndim == 3 else labels)
    return plane, label_equal(plane, background=0, connectivity=1)


def _values(plane: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    values = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    values[numbers] = plane
    return values[1:]


def _links(
    plane: NDArray[Any],
    numbers: NDArray[np.int64],
    next_plane: NDArray[Any],
    next_numbers: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Pairs of components of two planes that touch, counted from 0."""
    touching = (plane == next_plane) & (plane != 0)
    pairs = np.stack([numbers[touching], next_numbers[touching]], axis=1)
    if not len(pairs):
        return np.zeros((0, 2), np.int64)
    # Rows repeat along runs; only where they change is a pair to be looked at.
    fresh = np.ones(len(pairs), bool)
    fresh[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    unique: NDArray[np.int64] = np.unique(pairs[fresh], axis=0) - 1
    return unique
