"""Connected components, with `cc3d` where the extra `fast` has installed it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Connectivity",
    "component_sizes",
    "fast_module",
    "in_scan_order",
    "label_components",
]

Connectivity = Literal["faces", "corners"]

_FAST: dict[str, Any] = {}


def fast_module(name: str) -> Any:
    """Return an optional module of the extra `fast`; None where it is absent."""
    if name not in _FAST:
        try:
            _FAST[name] = importlib.import_module(name)
        except ImportError:
            _FAST[name] = None
    return _FAST[name]


def label_components(
    mask: NDArray[np.bool_],
    connectivity: Connectivity = "faces",
    *,
    per_slice: int | None = None,
    ordered: bool = True,
) -> tuple[NDArray[np.int32], int]:
    """Label the connected components of a mask.

    Parameters
    ----------
    mask : ndarray of bool
        2D or 3D.
    connectivity : {"faces", "corners"}
        Whether voxels that share only an edge or a corner belong together.
    per_slice : int, optional
        Axis across which nothing is connected: components are those of each slice.
    ordered : bool
        Whether the numbers have to follow the first voxels; to make sure costs time.

    Returns
    -------
    numbers : ndarray of int32
        0 outside; components count from 1, if `ordered`, by their first voxels.
    count : int
        How many there are.
    """
    cc3d = fast_module("cc3d")
    if cc3d is not None and per_slice is None and mask.ndim in (2, 3) and mask.size:
        kinds = {(2, "faces"): 4, (2, "corners"): 8, (3, "faces"): 6}
        kind = kinds.get((mask.ndim, connectivity), 26)
        numbers, count = cc3d.connected_components(
            np.ascontiguousarray(mask),
            connectivity=kind,
            return_N=True,
            out_dtype=np.uint32,
        )
        signed: NDArray[np.int32] = numbers.view(np.int32)
        return in_scan_order(signed, int(count)) if ordered else (signed, int(count))
    structure = ndimage.generate_binary_structure(
        mask.ndim, 1 if connectivity == "faces" else mask.ndim
    )
    if per_slice is not None:
        index = [slice(None)] * mask.ndim
        for off in (0, 2):
            index[per_slice] = slice(off, off + 1)
            structure[tuple(index)] = False
    numbers = np.empty(mask.shape, np.int32)
    count = int(ndimage.label(mask, structure, output=numbers))
    return numbers, count


def component_sizes(numbers: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Count the voxels of each component.

    Returns
    -------
    ndarray of int64, shape (count + 1,)
        Entry 0 is what belongs to none.
    """
    sizes = np.zeros(count + 1, np.int64)
    flat = numbers.reshape(-1)
    # bincount copies its input to 64 bits, so it gets a part at a time.
    for start in range(0, flat.size, 1 << 22):
        sizes += np.bincount(flat[start : start + (1 << 22)], minlength=count + 1)
    return sizes


def in_scan_order(
    numbers: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], int]:
    """Renumber so that the first voxels of the components ascend, as scipy's do.

    Parameters
    ----------
    numbers : ndarray of int32
        Components, as `label_components` gives them unordered.
    count : int
        How many there are.

    Returns
    -------
    numbers : ndarray of int32
        The same array where they ascend already.
    count : int
    """
    flat = numbers.reshape(-1)
    first = np.full(count + 1, flat.size, np.int64)
    step = 1 << 22
    for start in range(0, flat.size, step):
        part = flat[start : start + step]
        starts = np.flatnonzero(np.diff(part, prepend=-1))
        values = part[starts]
        np.minimum.at(first, values, starts + start)
    order = np.argsort(first[1:], kind="stable") + 1
    if np.array_equal(order, np.arange(1, count + 1)):
        return numbers, count
    table = np.zeros(count + 1, np.int32)
    table[order] = np.arange(1, count + 1, dtype=np.int32)
    return table[numbers], count
