"""Keeps strokes off what may not change, before napari writes them.

napari's brush, fill bucket and polygon all write through one method of the layer,
`_apply_mask_to_data`, and other plugins through `data_setitem`. Both are wrapped on the
instance: what may not change is taken out of what they are asked to write. A napari
that writes otherwise is not held up here; `LabelsBinding` then puts it back at the end
of the stroke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box

__all__ = ["StrokeGuard"]

_AGAIN_MS = 2000
_METHODS = ("_apply_mask_to_data", "data_setitem")


class StrokeGuard:
    """Wraps the methods of a layer that write strokes.

    Parameters
    ----------
    layer : Labels
        The layer itself, no proxy.
    forbidden : callable
        Gets a box, its labels and what would be written; gives where that may not be,
        or None where it may everywhere.
    active : callable
        Whether anything is forbidden at present.
    """

    stopped = Signal()
    """Something was held back; once per stroke, or every two seconds."""

    def __init__(
        self,
        layer: Labels,
        forbidden: Callable[[Box, NDArray[Any], Any], NDArray[np.bool_] | None],
        active: Callable[[], bool],
    ) -> None:
        self._layer = layer
        self._forbidden = forbidden
        self._active = active
        self._held = 0
        self._told = False
        self._plain = {
            name: getattr(layer, name) for name in _METHODS if hasattr(layer, name)
        }
        for name in self._plain:
            setattr(layer, name, getattr(self, name.removeprefix("_")))

    def end_stroke(self) -> int:
        """Return how many voxels were held back since the last stroke ended."""
        held, self._held = self._held, 0
        self._told = False
        return held

    def release(self) -> None:
        """Give the layer its own methods back."""
        for name in self._plain:
            delattr(self._layer, name)
        self._plain = {}

    def apply_mask_to_data(
        self,
        data: NDArray[Any],
        mask: NDArray[np.bool_],
        new_label: int,
        volume_slice: Box,
    ) -> Any:
        """Stand in for the method of the brush, the bucket and the polygon."""
        shut = self._forbidden(volume_slice, data, new_label)
        if shut is not None:
            self._note(mask & shut & (data != new_label))
            mask = mask & ~shut
        return self._plain["_apply_mask_to_data"](data, mask, new_label, volume_slice)

    def data_setitem(self, indices: Any, value: Any, refresh: bool = True) -> None:
        """Stand in for the method that other plugins write with."""
        places = np.broadcast_arrays(*(np.asarray(i) for i in indices))
        values = np.asarray(value)
        if self._active() and places and places[0].size:
            low = [int(i.min()) for i in places]
            box = tuple(
                slice(n, int(i.max()) + 1) for n, i in zip(low, places, strict=True)
            )
            inside = tuple(i - n for i, n in zip(places, low, strict=True))
            before = np.asarray(self._layer.data[box])
            wanted = before.copy()
            wanted[inside] = values
            shut = self._forbidden(box, before, wanted)
            if shut is not None:
                closed = shut[inside]
                self._note(closed & (before[inside] != wanted[inside]))
                if closed.any():
                    values = np.broadcast_to(values, closed.shape)[~closed]
                    value = values
                    indices = tuple(i[~closed] for i in places)
        self._plain["data_setitem"](indices, value, refresh)

    def _note(self, held: NDArray[np.bool_]) -> None:
        count = int(np.count_nonzero(held))
        self._held += count
        if count and not self._told:
            self._told = True
            self.stopped.emit()
            QTimer.singleShot(_AGAIN_MS, self._forget)

    def _forget(self) -> None:
        self._told = False
