"""What one step changed: compressed differences within boxes, old values and new."""

from __future__ import annotations

import math
import time
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.correction.boxes import mask_box, shift_box, union_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.correction.classes import LabelClass
    from napari_medurwkv.correction.counts import Tally

__all__ = ["Edit", "Patch", "Source", "Values", "differences"]

Source = Literal["brush", "tool", "model", "classes", "foreign"]
"""Who made a step: a person's brush, a tool, the network, the list of classes, or
somebody who replaced the layer's data."""

_SLAB_VOXELS = 1 << 22
_OVERHEAD = 400  # bytes of the objects around the compressed ones, roughly


@dataclass(frozen=True, slots=True)
class Values:
    """Values of voxels in order, compressed; or the one value that they all have."""

    dtype: str
    packed: bytes | None
    single: int

    @classmethod
    def pack(cls, values: NDArray[Any]) -> Values:
        """Pack values; at least one."""
        if (values == values[0]).all():
            return cls(values.dtype.str, None, int(values[0]))
        return cls(values.dtype.str, zlib.compress(values.tobytes(), 1), 0)

    def unpack(self) -> NDArray[Any] | int:
        """Return the values, or the one that they all have."""
        if self.packed is None:
            return self.single
        return np.frombuffer(zlib.decompress(self.packed), self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.packed or b"")


@dataclass(frozen=True, slots=True)
class Patch:
    """Voxels of one box that changed.

    Attributes
    ----------
    box : Box
        As tight as the change.
    mask : bytes or None
        Which voxels, one bit each, compressed; None where all did.
    count : int
        How many.
    old, new : Values
        In C order.
    """

    box: Box
    mask: bytes | None
    count: int
    old: Values
    new: Values

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        held = len(self.mask or b"") + self.old.nbytes + self.new.nbytes
        return held + _OVERHEAD

    def where(self) -> NDArray[np.bool_]:
        """Return which voxels of the box changed."""
        shape = tuple(s.stop - s.start for s in self.box)
        size = math.prod(shape)
        if self.mask is None:
            return np.ones(shape, bool)
        bits = np.frombuffer(zlib.decompress(self.mask), np.uint8)
        return np.unpackbits(bits, count=size).view(bool).reshape(shape)

    def write(self, array: Any, *, undo: bool) -> None:
        """Put the old values, or the new ones, into an array.

        Parameters
        ----------
        array : array-like
            Read and written by its boxes only, so it may be lazy.
        undo : bool
            Whether to write the old values.
        """
        values = (self.old if undo else self.new).unpack()
        if self.mask is None:
            shape = tuple(s.stop - s.start for s in self.box)
            array[self.box] = (
                values if isinstance(values, int) else values.reshape(shape)
            )
            return
        part = np.asarray(array[self.box])
        where = self.where()
        if isinstance(values, int):
            np.putmask(part, where, values)
        else:
            part[where] = values
        if not isinstance(array, np.ndarray):
            array[self.box] = part


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One step of the history.

    Attributes
    ----------
    name : str
        What the list says, such as "Fill holes".
    source : Source
        Who made it.
    patches : tuple of Patch
        Of the labels.
    marks : tuple of Patch
        Of the marks that say which voxels a person changed.
    tally : Tally or None
        By how much it changed the counts.
    classes : tuple or None
        The list of classes before and after.
    held : int
        Voxels that stayed as they were because their class is locked, or protected.
    when : float
        Seconds since the epoch.
    """

    name: str
    source: Source
    patches: tuple[Patch, ...] = ()
    marks: tuple[Patch, ...] = ()
    tally: Tally | None = None
    classes: tuple[tuple[LabelClass, ...], tuple[LabelClass, ...]] | None = None
    held: int = 0
    when: float = field(default_factory=time.time)

    @property
    def voxels(self) -> int:
        """How many voxels it changed."""
        return sum(patch.count for patch in self.patches)

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return not self.patches and self.classes is None

    @property
    def box(self) -> Box | None:
        """Where it changed labels."""
        return union_box(patch.box for patch in self.patches)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        parts = sum(p.nbytes for p in (*self.patches, *self.marks))
        return parts + _OVERHEAD + (self.tally.nbytes if self.tally else 0)


def joined(first: Edit, second: Edit) -> Edit:
    """Make one step of two that followed each other; it is called as the second.

    Parameters
    ----------
    first, second : Edit
        Of labels, by the same source.
    """
    return replace(
        second,
        patches=(*first.patches, *second.patches),
        marks=(*first.marks, *second.marks),
        tally=None,  # worked out again from the patches where it is needed
    )


def differences(
    before: NDArray[Any], after: NDArray[Any], origin: Sequence[int] | None = None
) -> tuple[Patch, ...]:
    """Pack where two blocks differ.

    Parameters
    ----------
    before, after : ndarray
        Of one shape and type.
    origin : sequence of int, optional
        Index of the blocks' first voxel in the whole array.

    Returns
    -------
    tuple of Patch
        Slab by slab, so that nothing has to be unpacked as a whole.
    """
    if origin is None:
        origin = (0,) * before.ndim
    plane = max(1, math.prod(before.shape[1:]))
    step = max(1, _SLAB_VOXELS // plane)
    patches = []
    for start in range(0, before.shape[0], step):
        rows = slice(start, min(start + step, before.shape[0]))
        old, new = before[rows], after[rows]
        changed = old != new
        tight = mask_box(changed)
        if tight is None:
            continue
        where = changed[tight]
        count = int(np.count_nonzero(where))
        bits = None
        if count < where.size:
            bits = zlib.compress(np.packbits(where).tobytes(), 1)
        place = shift_box(tight, (start, *(0,) * (before.ndim - 1)))
        patches.append(
            Patch(
                shift_box(place, origin),
                bits,
                count,
                Values.pack(old[tight][where]),
                Values.pack(new[tight][where]),
            )
        )
    return tuple(patches)
