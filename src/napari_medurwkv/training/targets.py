"""From labels to what the network is asked for, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["boundary_target", "semantic_target"]

OUTSIDE, INSIDE, BOUNDARY = 0, 1, 2


def _eroded(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Set to 0 every pixel whose 4 neighbours are not all of its own object."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        lower = tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))
        upper = tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))
        step = labels[lower] != labels[upper]
        edge[lower] |= step
        edge[upper] |= step
    return np.where(edge, labels.dtype.type(0), labels)


def _near_others(labels: NDArray[np.integer], reach: int) -> NDArray[np.bool_]:
    """Mark what lies within `reach` pixels (by diamonds) of another object's side."""
    contact = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        lower = tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))
        upper = tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))
        step = (labels[lower] != labels[upper]) & (labels[lower] * labels[upper] > 0)
        contact[lower] |= step
        contact[upper] |= step
    if reach > 1 and contact.any():
        contact = ndimage.binary_dilation(contact, iterations=reach - 1)
    return contact


def boundary_target(
    labels: NDArray[np.integer], rim: int = 2, contact_rim: int = 0
) -> NDArray[np.int64]:
    """Turn an object image into outside (0), inside (1) and boundary (2).

    The boundary is the inner rim of each object, `rim` pixels wide towards background
    and towards touching objects alike, so two objects in contact are parted by twice
    its width. An object too small to keep an interior gets the widest rim that leaves
    one, and none if one pixel is already too much: every object keeps a seed. The
    border of the picture is no rim: there the object goes on.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        Object numbers; 0 is background.
    rim : int
        Width in pixels (4-neighbourhood).
    contact_rim : int
        Width where objects touch, if that shall be wider; an object that would lose
        its interior keeps the narrower rim there too.

    Returns
    -------
    ndarray of int64, shape (H, W)
    """
    dense = labels
    # Sorting takes longer than all that follows: only for numbers too wild to count by.
    if not 0 <= labels.min() <= labels.max() < labels.size:
        _, dense = np.unique(labels, return_inverse=True)
        dense = dense.reshape(labels.shape)
        if labels.min() > 0:
            dense = dense + 1
    current = dense
    objects = int(current.max()) + 1
    inside = np.zeros(labels.shape, bool)
    alive = np.bincount(current.ravel(), minlength=objects) > 0
    for _ in range(rim):
        thinner = _eroded(current)
        survives = np.bincount(thinner.ravel(), minlength=objects) > 0
        # What vanishes now keeps the interior that it had one step before.
        lost = alive & ~survives
        lost[0] = False
        inside |= lost[current]
        alive, current = survives, thinner
    inside |= current > 0
    if contact_rim > rim:
        current = np.where(labels > 0, dense, 0)
        left = inside & ~_near_others(current, contact_rim)
        keeps = np.bincount(current[left], minlength=objects) > 0
        inside = np.where(keeps[current], left, inside)
    return np.where(labels > 0, np.where(inside, INSIDE, BOUNDARY), OUTSIDE).astype(
        np.int64
    )


def semantic_target(
    labels: NDArray[np.integer], output_values: tuple[int, ...]
) -> NDArray[np.int64]:
    """Turn mask values into output numbers.

    Parameters
    ----------
    labels : ndarray of int
        Mask values.
    output_values : tuple of int
        Mask value of each network output, all different. With one output, a sigmoid
        model's, the target is 1 where the label is that value.

    Returns
    -------
    ndarray of int64
        Same shape.

    Raises
    ------
    ValueError
        A label is no mask value of the card.
    """
    if len(output_values) == 1:
        single: NDArray[np.int64] = (labels == output_values[0]).astype(np.int64)
        return single
    target = np.full(labels.shape, -1, np.int64)
    for output, value in enumerate(output_values):
        target[labels == value] = output
    if target.min() < 0:
        unknown = sorted(set(np.unique(labels).tolist()) - set(output_values))
        raise ValueError(f"labels hold {unknown}, which the card has no output for")
    return target
