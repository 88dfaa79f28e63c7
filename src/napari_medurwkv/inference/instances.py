"""Touching objects told apart by a seeded watershed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import InstanceRecipe

__all__ = ["ObjectNumbers", "separate_objects"]

SAME_OBJECT = 0.5
"""Part of the smaller one that two cuts of an object share at least."""


class ObjectNumbers:
    """Numbers the objects of plane after plane.

    In a volume an object keeps its number from one plane to the next: where two cuts
    overlap each other more than they overlap any other, and by at least half of the
    smaller one, they are one object. Each object has one cut per plane: of a fork, the
    larger overlap goes on. Only the last plane is kept, so nothing has to be numbered
    again later.

    Parameters
    ----------
    recipe : InstanceRecipe
        How the objects of a plane are told apart.
    linked : bool
        Whether the planes make a volume; else every plane's objects are its own.
    """

    def __init__(self, recipe: InstanceRecipe, *, linked: bool) -> None:
        self._recipe = recipe
        self._linked = linked
        self._count = 0
        self._last: NDArray[np.int32] | None = None

    def number(
        self, foreground: NDArray[np.bool_], inside: NDArray[np.uint8]
    ) -> NDArray[np.int32]:
        """Tell the objects of the next plane apart and number them.

        Parameters
        ----------
        foreground, inside
            As for `separate_objects`.

        Returns
        -------
        ndarray of int32, shape (rows, columns)
        """
        objects = separate_objects(foreground, inside, self._recipe)
        table = np.zeros(int(objects.max(initial=0)) + 1, np.int32)
        if self._last is not None:
            for before, now in _same(self._last[: len(objects)], objects):
                table[now] = before
        fresh = np.flatnonzero(table[1:] == 0) + 1
        table[fresh] = self._count + np.arange(1, len(fresh) + 1)
        self._count += len(fresh)
        numbered: NDArray[np.int32] = table[objects]
        if self._linked:
            self._last = numbered
        return numbered


def _same(before: NDArray[np.int32], now: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Pair the objects of two planes that are cuts of one object."""
    both = (before > 0) & (now > 0)
    if not both.any():
        return []
    count = int(now.max()) + 1
    codes, shared = np.unique(
        before[both].astype(np.int64) * count + now[both], return_counts=True
    )
    pairs = np.stack(np.divmod(codes, count))
    size_before, size_now = np.bincount(before.ravel()), np.bincount(now.ravel())
    # The largest overlap first; of equal ones, the lower numbers.
    order = np.lexsort((pairs[1], pairs[0], -shared))
    best_before: dict[int, int] = {}
    best_now: dict[int, int] = {}
    for i in order:
        old, new = int(pairs[0, i]), int(pairs[1, i])
        best_before.setdefault(old, int(i))
        best_now.setdefault(new, int(i))
    found = []
    for i in order:
        old, new = int(pairs[0, i]), int(pairs[1, i])
        smaller = min(size_before[old], size_now[new])
        mutual = best_before[old] == i and best_now[new] == i
        if mutual and shared[i] >= SAME_OBJECT * smaller:
            found.append((old, new))
    return found


def separate_objects(
    foreground: NDArray[np.bool_], inside: NDArray[np.uint8], recipe: InstanceRecipe
) -> NDArray[np.int32]:
    """Tell the objects of one plane apart.

    Seeds are the connected parts of the foreground whose interior probability exceeds
    the recipe's threshold; a seed that falls into several at one of the recipe's higher
    levels is replaced by these, so that a weak bridge does not join two objects while
    a faint object keeps its seed. A part of the foreground that holds one seed is one
    object; where it holds several, a watershed on the interior probability divides it.
    A part without a seed is an object of its own. What is smaller than the recipe's
    smallest object goes. Neighbours are the four that share a side.

    Parameters
    ----------
    foreground : ndarray of bool, shape (rows, columns)
        Where objects are.
    inside : ndarray of uint8, shape (rows, columns)
        Interior probability in 255 steps.
    recipe : InstanceRecipe
        Threshold and smallest object.

    Returns
    -------
    ndarray of int32, shape (rows, columns)
        0 is background; objects are numbered from 1 without gaps, in the order of
        their first pixels from the top left.
    """
    parts, count = _connected(foreground)
    if count == 0:
        return np.zeros(foreground.shape, np.int32)
    seeds = _seeds(parts, foreground, inside, recipe)
    seed_part = np.zeros(int(seeds.max(initial=0)) + 1, np.int64)
    seed_part[seeds[seeds > 0]] = parts[seeds > 0]
    seeds_in_part = np.bincount(seed_part[1:], minlength=count + 1)
    # Dropped seeds lie in part 0, the background, which is never divided.
    seeds_in_part[0] = 0

    divided = seeds_in_part > 1
    objects = np.where(divided[parts], 0, parts)
    if divided.any():
        crowded = divided[parts]
        objects[crowded] = count + _watershed(inside, seeds, crowded)[crowded]
    return _keep(objects, recipe.min_area)


def _connected(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, output=labels)
    return labels, int(count)


def _seeds(
    parts: NDArray[np.int32],
    foreground: NDArray[np.bool_],
    inside: NDArray[np.uint8],
    recipe: InstanceRecipe,
) -> NDArray[np.int32]:
    """Find connected interiors, without specks; divide those that fall apart."""
    seeds = _interiors(foreground, inside, recipe.seed_threshold, recipe.min_area)
    for level in recipe.split_levels:
        parts = _interiors(seeds > 0, inside, level, recipe.min_area)
        if not parts.any():
            break
        # Every part lies in one seed; numbers of dropped specks stay at 0.
        seed_of = np.zeros(int(parts.max()) + 1, np.int64)
        seed_of[parts] = seeds
        most = seeds.max()
        divided = np.bincount(seed_of[1:], minlength=most + 1) > 1
        divided[0] = False
        inner = np.where(parts > 0, parts + most, 0)
        seeds = np.where(divided[seeds], inner, seeds)
    return seeds


def _interiors(
    mask: NDArray[np.bool_], inside: NDArray[np.uint8], level: float, min_area: int
) -> NDArray[np.int32]:
    seeds, count = _connected(mask & (inside > level * 255))
    size = np.bincount(seeds.ravel(), minlength=count + 1)
    # An interior far below the smallest object is noise that would cut a real object.
    speck = size < min_area / 4
    speck[0] = True
    seeds[speck[seeds]] = 0
    return seeds


def _watershed(
    inside: NDArray[np.uint8],
    seeds: NDArray[np.int32],
    mask: NDArray[np.bool_],
) -> NDArray[np.int32]:
    from skimage.segmentation import watershed

    markers = np.where(mask, seeds, 0)
    flooded: NDArray[np.int32] = watershed(255 - inside, markers, mask=mask)
    return flooded


def _keep(objects: NDArray[np.int32], min_area: int) -> NDArray[np.int32]:
    """Drop small objects; number the others by their first pixels."""
    size = np.bincount(objects.ravel())
    kept = size >= max(1, min_area)
    kept[0] = False
    present = np.flatnonzero(kept)
    # Writing backwards leaves, for each object, the pixel that comes first.
    flat = objects.ravel()
    where = np.flatnonzero(flat)[::-1]
    first = np.zeros(len(size), np.int64)
    first[flat[where]] = where
    number = np.zeros(len(size), np.int32)
    number[present[np.argsort(first[present])]] = np.arange(1, len(present) + 1)
    return number[objects]
