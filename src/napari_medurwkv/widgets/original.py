"""The mask as the network left it, packed, to tell later what a person changed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["PackedLabels"]

# Small enough that the thread that packs lets the window have its turn.
_SLAB_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PackedLabels:
    """Labels, compressed slab by slab.

    Attributes
    ----------
    shape : tuple of int
        Of the array.
    dtype : str
        Of the array.
    slabs : tuple of bytes
        Each a run of the flattened array.
    """

    shape: tuple[int, ...]
    dtype: str
    slabs: tuple[bytes, ...]

    @classmethod
    def pack(cls, labels: NDArray[Any]) -> PackedLabels:
        """Pack labels; takes time, so it belongs into a thread."""
        slabs = tuple(zlib.compress(slab.tobytes(), 1) for slab in _slabs(labels))
        return cls(labels.shape, labels.dtype.str, slabs)

    def count_changes(self, labels: NDArray[Any]) -> int:
        """Count the voxels in which labels differ from the packed ones.

        Parameters
        ----------
        labels : ndarray
            Of the same shape; the type may be another.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        if labels.shape != self.shape:
            raise ValueError(f"the labels have shape {labels.shape}, not {self.shape}")
        changed = 0
        per_slab = _SLAB_BYTES // np.dtype(self.dtype).itemsize
        flat = labels.reshape(-1)
        for index, packed in enumerate(self.slabs):
            before = np.frombuffer(zlib.decompress(packed), dtype=self.dtype)
            start = index * per_slab
            changed += int(np.count_nonzero(flat[start : start + per_slab] != before))
        return changed


def _slabs(labels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = labels.reshape(-1)
    per_slab = _SLAB_BYTES // labels.itemsize
    for start in range(0, flat.size, per_slab):
        yield flat[start : start + per_slab]
