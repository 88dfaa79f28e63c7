"""A labels layer and its history in one order: napari's brush, tools, the network.

What may not change is taken out of every stroke before napari writes it, so a locked
class is never seen to be painted over.

napari keeps a history of its own brush, which knows nothing of other edits and is not
cleared when a layer's data is replaced. Here every stroke is taken over into our
history as it happens, and the layer's own `undo` and `redo` lead there: whoever calls
them, a key, a menu or another plugin, steps through one history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_medurwkv.correction.boxes import union_box
from napari_medurwkv.errors import CorrectionError
from napari_medurwkv.widgets.stroke_guard import StrokeGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.correction.mask import EditableMask

__all__ = ["LabelsBinding", "real_layer"]

_STROKES = {
    "paint": "Paint",
    "erase": "Erase",
    "fill": "Fill",
    "polygon": "Polygon",
}


def real_layer(layer: Any) -> Any:
    """Return the layer behind the proxy that napari gives to plugins."""
    return getattr(layer, "__wrapped__", layer)


class LabelsBinding:
    """Ties a labels layer to an `EditableMask` over the same array.

    Parameters
    ----------
    layer : Labels
        An editable layer of a single scale.
    mask : EditableMask
        Made over ``layer.data``.
    """

    stroke = Signal(object)
    """A stroke was taken over; emits its edit."""

    lost = Signal()
    """The layer has got data of other dimensions: this binding is over."""

    def __init__(self, layer: Labels, mask: EditableMask) -> None:
        self.layer = real_layer(layer)
        if self.layer.multiscale:
            raise CorrectionError(
                "A layer with several scales cannot be edited; convert it to one."
            )
        self.mask = mask
        self.brush_rule: Callable[[Box], NDArray[np.bool_]] | None = None
        self._bound = True
        self._quiet = False
        self._unsettled: tuple[Box, NDArray[Any]] | None = None
        self._guard = StrokeGuard(self.layer, self._forbidden, self._limited)
        self._forget_strokes()
        self.layer.events.labels_update.connect(self._settle)
        self.layer.events.paint.connect(self._on_paint)
        self.layer.events.data.connect(self._on_data)
        mask.changed.connect(self._on_changed)
        # On the instance: it wins over the class, whoever calls.
        self.layer.undo = self.undo
        self.layer.redo = self.redo
        self.layer.bind_key("Control-Z", self._undo_key, overwrite=True)
        self.layer.bind_key("Control-Shift-Z", self._redo_key, overwrite=True)

    @property
    def stopped(self) -> Any:
        """Signal: the first time in a stroke that it meets what may not change."""
        return self._guard.stopped

    @property
    def bound(self) -> bool:
        """Whether the layer still belongs to the mask."""
        return self._bound

    @property
    def busy(self) -> bool:
        """Whether the mouse holds a stroke that napari has not told of yet."""
        return bool(getattr(self.layer, "_staged_history", ()))

    def undo(self) -> None:
        """Undo the last step, whoever made it."""
        if not self.busy:
            self._settle()
            self.mask.undo()

    def redo(self) -> None:
        """Redo the step that was undone last."""
        if not self.busy:
            self._settle()
            self.mask.redo()

    def release(self) -> None:
        """Give the layer back to napari, with a history that knows no old strokes."""
        if not self._bound:
            return
        self._settle()
        self._bound = False
        self.layer.events.labels_update.disconnect(self._settle)
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.data.disconnect(self._on_data)
        self.mask.changed.disconnect(self._on_changed)
        self._guard.release()
        del self.layer.undo
        del self.layer.redo
        self.layer.bind_key("Control-Z", None)
        self.layer.bind_key("Control-Shift-Z", None)
        self._forget_strokes()

    # ------------------------------------------------------------------ details

    def _limited(self) -> bool:
        return self.brush_rule is not None or bool(self.mask.locked)

    def _forbidden(
        self, box: Box, before: NDArray[Any], value: int | NDArray[Any]
    ) -> NDArray[np.bool_] | None:
        return self.mask.forbidden(box, before, value, self.brush_rule)

    def _undo_key(self, layer: Any = None) -> None:
        self.undo()

    def _redo_key(self, layer: Any = None) -> None:
        self.redo()

    def _forget_strokes(self) -> None:
        """Make napari forget its strokes: what has come between would be overwritten.

        napari does so when a layer stops being editable.
        """
        if not self.layer.editable:
            return
        mode = self.layer.mode
        self.layer.editable = False
        self.layer.editable = True
        self.layer.mode = mode

    def _on_paint(self, event: Any) -> None:
        """Take a stroke over.

        The event of a stroke of the mouse comes after its voxels are written, that of
        `paint`, `fill`, `paint_polygon` or `data_setitem` called alone comes before. So
        what is there before and after is worked out from napari's record of it.
        """
        self._settle()
        atoms = list(event.value)
        box = union_box(_atom_box(atom) for atom in atoms)
        if box is None:
            return
        present = np.array(self.mask.array[box])
        before = present.copy()
        origin = [s.start for s in box]
        for atom in reversed(atoms):
            _replay(before, atom, origin, undo=True)
        painted = before.copy()
        for atom in atoms:
            _replay(painted, atom, origin, undo=False)
        after, held = self.mask.allow(box, before, painted, self.brush_rule)
        stopped = self._guard.end_stroke()
        if held:
            self._unsettled = (box, after)
        self._quiet = True
        try:
            name = self._stroke_name(atoms)
            edit = self.mask.adopt(name, box, before, after, held=held + stopped)
        finally:
            self._quiet = False
        if held and np.array_equal(present, painted):
            self._settle()
        elif held:
            # napari writes once this returns; then what may not change is put back.
            QTimer.singleShot(0, self._settle_later)
        self.stroke.emit(edit)

    def _settle(self, event: Any = None) -> None:
        """Put back what a stroke wrote where nothing may change."""
        unsettled, self._unsettled = self._unsettled, None
        if unsettled is not None:
            box, after = unsettled
            self.mask.array[box] = after
            self._refresh()

    def _settle_later(self) -> None:
        if self._bound:
            self._settle()

    def _stroke_name(self, atoms: Sequence[Any]) -> str:
        name = _STROKES.get(str(self.layer.mode), "Edit")
        value = _atom_value(atoms[-1])
        info = next((c for c in self.mask.classes if c.value == value), None)
        if value == 0 or value is None:
            return "Erase" if name == "Paint" else name
        return f"{name} {info.name if info is not None else f'label {value}'}"

    def _on_data(self, event: Any = None) -> None:
        if not self._bound or self.layer.data is self.mask.array:
            return
        self._unsettled = None
        data = self.layer.data
        if data.ndim != len(self.mask.spacing):
            self.release()
            self.lost.emit()
            return
        self._quiet = True  # napari shows the new data by itself
        try:
            self.mask.replace_array(data)
        finally:
            self._quiet = False

    def _on_changed(self, box: Box | None) -> None:
        if not self._quiet and box is not None:
            self._refresh()

    def _refresh(self) -> None:
        self.layer.refresh(extent=False, highlight=False)


def _atom_box(atom: Any) -> Box:
    """Box of one atom of napari's history, of either kind."""
    key = getattr(atom, "slice_key", None)
    if key is not None:
        return tuple(slice(int(s.start), int(s.stop)) for s in key)
    indices = atom[0]
    return tuple(slice(int(np.min(i)), int(np.max(i)) + 1) for i in indices)


def _replay(
    block: NDArray[Any], atom: Any, origin: Sequence[int], *, undo: bool
) -> None:
    """Undo or redo an atom in a copy of the box that begins at `origin`."""
    if getattr(atom, "slice_key", None) is not None:
        inner = tuple(
            slice(s.start - o, s.stop - o)
            for s, o in zip(atom.slice_key, origin, strict=True)
        )
        values = atom.old_values if undo else atom.new_value
        if atom.mask is None:
            block[inner] = values
        else:
            block[inner][atom.mask] = values
        return
    indices, old, new = atom
    place = tuple(np.asarray(i) - o for i, o in zip(indices, origin, strict=True))
    block[place] = old if undo else new


def _atom_value(atom: Any) -> int | None:
    """Label that an atom painted; None where it painted several."""
    value = getattr(atom, "new_value", None)
    if value is None:
        value = atom[2]
    return int(value) if np.ndim(value) == 0 else None
