"""Change what labels are called: relabel, merge, delete and swap classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.correction.components import fast_module
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["delete_classes", "merge_classes", "relabel", "swap_classes"]


def relabel(
    labels: NDArray[Any], spacing: Sequence[float], *, mapping: Mapping[int, int]
) -> NDArray[Any]:
    """Give classes other numbers, all at once.

    Parameters
    ----------
    labels : ndarray of integers
        Block of a mask.
    spacing : sequence of float, mm
        Voxel size per axis; it does not matter here.
    mapping : mapping of int to int
        From the present to the new number; others stay as they are.

    Returns
    -------
    ndarray
        A new block of the same type.

    Raises
    ------
    CorrectionError
        If the type of the mask cannot hold a new number.
    """
    limits = np.iinfo(labels.dtype)
    for value in mapping.values():
        if not limits.min <= value <= limits.max:
            raise CorrectionError(
                f"A mask of type {labels.dtype} cannot hold the label {value}; convert "
                "the layer to a larger type first."
            )
    fastremap = fast_module("fastremap")
    known = {k: v for k, v in mapping.items() if limits.min <= k <= limits.max}
    if labels.dtype.itemsize == 1:
        table = np.arange(256).astype(labels.dtype)
        for old, new in known.items():
            table[old] = new
        looked_up: NDArray[Any] = table[labels.view(np.uint8)]
        return looked_up
    if fastremap is not None:
        remapped: NDArray[Any] = fastremap.remap(
            labels, known, preserve_missing_labels=True
        )
        return remapped
    after = labels.copy()
    for old, new in known.items():
        after[labels == old] = new
    return after


def merge_classes(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    classes: Sequence[int],
    into: int,
) -> NDArray[Any]:
    """Turn several classes into one.

    Parameters
    ----------
    labels, spacing
        As for `relabel`.
    classes : sequence of int
        Those that end.
    into : int
        What they become.

    Returns
    -------
    ndarray
        A new block.
    """
    return relabel(labels, spacing, mapping=dict.fromkeys(map(int, classes), int(into)))


def delete_classes(
    labels: NDArray[Any], spacing: Sequence[float], *, classes: Sequence[int]
) -> NDArray[Any]:
    """Turn classes into background; parameters as for `merge_classes`."""
    return merge_classes(labels, spacing, classes=classes, into=0)


def swap_classes(
    labels: NDArray[Any], spacing: Sequence[float], *, first: int, second: int
) -> NDArray[Any]:
    """Exchange two classes.

    Parameters
    ----------
    labels, spacing
        As for `relabel`.
    first, second : int
        The classes.

    Returns
    -------
    ndarray
        A new block.
    """
    return relabel(labels, spacing, mapping={first: second, second: first})
