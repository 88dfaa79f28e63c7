"""A mask and its kept probabilities, in the order of the layer's axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.inference.redecide import Settings, decide_part, redecide

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.inference.probabilities import Probabilities, Rule
    from napari_medurwkv.widgets.layer_image import LayerImage

__all__ = ["KeptMask", "in_layer_axes"]

_QUICK_BYTES = 16 << 20
"""A slice of more is not decided while the window waits."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptMask:
    """A finished mask that can be decided again.

    Attributes
    ----------
    layer : napari.layers.Labels
        With the mask; one frame long axes are not among its axes.
    probabilities : Probabilities
        Of the run that made it.
    picture : LayerImage
        The image that it was made from.
    """

    layer: Labels
    probabilities: Probabilities
    picture: LayerImage
    # While a slider moves, the slice stays: it is gathered from the file once.
    _slice: dict[tuple[int, int], NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def rule(self) -> Rule:
        """What the probabilities mean."""
        return self.probabilities.rule

    @property
    def _axes(self) -> tuple[tuple[int, int], ...]:
        """Layer axis and direction of each display axis."""
        return self.picture.layer_geometry.geometry.ornt

    @property
    def box(self) -> Box:
        """The part of the layer that was computed."""
        shape = self.rule.shape
        ends: list[slice] = [slice(0, 0)] * len(shape)
        for (first, end), (axis, sign), length in zip(
            self.rule.box, self._axes, shape, strict=True
        ):
            ends[axis] = (
                slice(first, end) if sign > 0 else slice(length - end, length - first)
            )
        return tuple(ends)

    def decide(
        self, settings: Settings, cancel: Callable[[], bool] | None = None
    ) -> NDArray[Any] | None:
        """Decide the part again; takes time, so it belongs into a thread.

        Parameters
        ----------
        settings : Settings
            What to decide by.
        cancel : callable, optional
            Asked before every plane.

        Returns
        -------
        ndarray or None
            What belongs into `box` of the layer; None where it was cancelled.
        """
        labels = np.zeros(self.layer.data.shape, self.layer.data.dtype)
        out = self.picture.layer_geometry.geometry.to_display(labels)
        if not redecide(self.probabilities, settings, out, cancel=cancel):
            return None
        return labels[self.box]

    def decide_slice(
        self, settings: Settings, axis: int, index: int
    ) -> tuple[Box, NDArray[Any]] | None:
        """Decide one slice of the layer again, at once.

        Parameters
        ----------
        settings : Settings
            What to decide by.
        axis : int
            Layer axis that it lies across; -1 for the whole of a picture.
        index : int
            Its number.

        Returns
        -------
        tuple, or None
            Its place in the layer and what belongs there; None outside the part that
            was computed, and where it would take too long.
        """
        if self.rule.instances is not None:
            return None
        box = list(self.box)
        if axis >= 0:
            if not box[axis].start <= index < box[axis].stop:
                return None
            box[axis] = slice(index, index + 1)
        part = self._slice.get((axis, index))
        if part is None:
            part = self._gather(tuple(box))
            self._slice.clear()
            if part is None:
                return None
            self._slice[axis, index] = part
        labels = decide_part(part, self.rule, settings)
        return tuple(box), labels.astype(self.layer.data.dtype, copy=False)

    def _gather(self, box: Box) -> NDArray[np.uint8] | None:
        """Read the probabilities of a box; None where they are too many."""
        where = tuple(
            slice(own.start - all_.start, own.stop - all_.start)
            for own, all_ in zip(box, self.box, strict=True)
        )
        turned = in_layer_axes(self.probabilities.array, self._axes)
        part = turned[(slice(None), *where)]
        return np.ascontiguousarray(part) if part.size <= _QUICK_BYTES else None


def in_layer_axes(
    array: NDArray[Any], axes: tuple[tuple[int, int], ...]
) -> NDArray[Any]:
    """View an array (channels, display axes) as (channels, layer axes).

    Parameters
    ----------
    array : ndarray
        In display order.
    axes : tuple of (int, int)
        Per display axis, the layer axis and +1 or -1 (`Geometry.ornt`).
    """
    order = [0] * len(axes)
    steps = [slice(None)] * len(axes)
    for display, (axis, sign) in enumerate(axes):
        order[axis] = display + 1
        steps[axis] = slice(None, None, sign)
    return array.transpose(0, *order)[(slice(None), *steps)]
