"""What a tool works on: one slice, a slab, a region or the volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.correction.boxes import full_box, pad_box, voxels_for
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box

__all__ = ["Block", "Scope", "ScopeKind", "run_in_scope"]

ScopeKind = Literal["slice", "slab", "region", "volume"]


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of a mask, and whether it is flat.

    Attributes
    ----------
    kind : {"slice", "slab", "region", "volume"}
        Tools see a slice as a picture; nothing beyond it exists for them. In a slab or
        region they see what lies around, as far as they reach, and leave it alone.
    box : Box
        The part.
    axis : int or None
        Across which axis a slice lies.
    """

    kind: ScopeKind
    box: Box
    axis: int | None = None

    @classmethod
    def slice(cls, shape: Sequence[int], axis: int, index: int) -> Scope:
        """Return one slice of a volume; of a picture, all of it."""
        if len(shape) == 2:
            return cls("volume", full_box(shape))
        return cls("slice", _planes(shape, axis, index, index), axis)

    @classmethod
    def slab(cls, shape: Sequence[int], axis: int, index: int, around: int) -> Scope:
        """Return a slice with so many on either side."""
        return cls("slab", _planes(shape, axis, index - around, index + around))

    @classmethod
    def volume(cls, shape: Sequence[int]) -> Scope:
        """Return everything."""
        return cls("volume", full_box(shape))


@dataclass(frozen=True, slots=True)
class Block:
    """What a tool gets: the part of arrays that it may look at.

    Attributes
    ----------
    box : Box
        In the whole array.
    axis : int or None
        Axis that is taken out.
    spacing : tuple of float, mm
        Of the axes that are left.
    """

    box: Box
    axis: int | None
    spacing: tuple[float, ...]

    def of(self, array: Any) -> NDArray[Any]:
        """Cut the block out of an array of the mask's shape."""
        part = np.asarray(array[self.box])
        return part if self.axis is None else part.squeeze(self.axis)

    def point(self, index: Sequence[int]) -> tuple[int, ...]:
        """Turn an index into the whole array into one into the block.

        Raises
        ------
        CorrectionError
            If it lies outside.
        """
        inside = all(
            s.start <= i < s.stop for i, s in zip(index, self.box, strict=True)
        )
        if not inside:
            raise CorrectionError("That point lies outside of what the tool works on.")
        return tuple(
            int(i) - s.start
            for axis, (i, s) in enumerate(zip(index, self.box, strict=True))
            if axis != self.axis
        )

    @property
    def origin(self) -> tuple[int, ...]:
        """Index of its first voxel along the axes that are left."""
        return tuple(s.start for i, s in enumerate(self.box) if i != self.axis)


def run_in_scope(
    array: Any,
    scope: Scope,
    spacing: Sequence[float],
    tool: Callable[[NDArray[Any], Block], NDArray[Any]],
    *,
    reach: float = 0.0,
) -> NDArray[Any]:
    """Run a tool on a scope.

    Parameters
    ----------
    array : array-like of integers
        The whole mask.
    scope : Scope
        The part that may change.
    spacing : sequence of float, mm
        Voxel size per axis.
    tool : callable
        Gets the labels of a block, and the block to cut other arrays by; gives the new
        labels.
    reach : float, mm
        How far away something may matter for a voxel; so much is shown to the tool
        around a slab or region.

    Returns
    -------
    ndarray
        New labels of ``scope.box``.
    """
    if scope.axis is not None:
        flat = tuple(float(s) for i, s in enumerate(spacing) if i != scope.axis)
        block = Block(scope.box, scope.axis, flat)
        return np.expand_dims(tool(block.of(array), block), scope.axis)
    margin = voxels_for(reach * (1 + 1e-6), spacing) if reach else (0,) * len(spacing)
    if reach:
        margin = tuple(m + 1 for m in margin)
    wide = pad_box(scope.box, margin, array.shape)
    block = Block(wide, None, tuple(float(s) for s in spacing))
    after = tool(block.of(array), block)
    inner = tuple(
        slice(s.start - w.start, s.stop - w.start)
        for s, w in zip(scope.box, wide, strict=True)
    )
    return after[inner]


def _planes(shape: Sequence[int], axis: int, first: int, last: int) -> Box:
    box = list(full_box(shape))
    n = shape[axis]
    box[axis] = slice(min(max(first, 0), n - 1), min(max(last, 0), n - 1) + 1)
    return tuple(box)
