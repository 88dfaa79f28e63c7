"""A mask that is being corrected: its array, classes, history, marks and numbers.

All changes go through one place, which holds back what is locked or protected, packs
the difference, marks what a person did, and keeps the numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_medurwkv.correction.boxes import full_box
from napari_medurwkv.correction.counts import Counts, tally_labels, tally_patches
from napari_medurwkv.correction.edits import Edit, differences, joined
from napari_medurwkv.correction.history import DEFAULT_BUDGET, History
from napari_medurwkv.correction.kept import ModelLabels
from napari_medurwkv.correction.protect import (
    Policy,
    accept_model,
    hold_back,
    is_locked,
)
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.boxes import Box
    from napari_medurwkv.correction.classes import LabelClass
    from napari_medurwkv.correction.counts import Tally
    from napari_medurwkv.correction.edits import Source

__all__ = ["EditableMask", "Prepared"]


class Prepared:
    """An edit that was worked out, perhaps in a thread, for one state of a mask.

    Parameters
    ----------
    edit : Edit
        What it would change.
    version : int
        State of the mask that it was worked out for.
    """

    __slots__ = ("edit", "version")

    def __init__(self, edit: Edit, version: int) -> None:
        self.edit = edit
        self.version = version


class EditableMask:
    """A mask under correction.

    Parameters
    ----------
    array : array-like of integers
        2D or 3D; changed in place, by boxes, so it may be lazy.
    spacing : sequence of float, mm
        Voxel size per axis.
    classes : sequence of LabelClass
        What the values mean; values without an entry are allowed.
    image : array-like, optional
        One channel of the same shape, for mean intensities.
    budget : int
        Bytes for the history.
    """

    changed = Signal(object)
    """Emits the box that changed, or None where only the classes did."""

    def __init__(
        self,
        array: Any,
        spacing: Sequence[float],
        classes: Sequence[LabelClass] = (),
        *,
        image: Any = None,
        budget: int = DEFAULT_BUDGET,
    ) -> None:
        if len(spacing) != array.ndim:
            raise CorrectionError(
                f"The mask has {array.ndim} axes, the spacing {len(spacing)} numbers."
            )
        self.array = array
        self.spacing = tuple(float(s) for s in spacing)
        self.image = image
        self.history = History(budget)
        self.marks = np.zeros(array.shape, bool)
        self.model_labels = ModelLabels(array.shape, array.dtype)
        self.counts: Counts | None = None
        self.version = 0
        self._classes = tuple(classes)

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes, in the order of the list."""
        return self._classes

    @property
    def locked(self) -> frozenset[int]:
        """Values of the classes that are locked."""
        return frozenset(info.value for info in self._classes if info.locked)

    # ------------------------------------------------------------------ numbers

    def count(self, tally: Tally | None = None) -> None:
        """Count the whole mask once; from then on, edits keep the numbers.

        Parameters
        ----------
        tally : Tally, optional
            Counts made elsewhere of this state, such as in a thread.
        """
        counts = Counts(self.array.shape[0])
        counts.add(tally or tally_labels(self.array, self.image))
        self.counts = counts

    # -------------------------------------------------------------------- edits

    def prepare(
        self,
        name: str,
        box: Box,
        after: NDArray[Any],
        *,
        source: Source = "tool",
        policy: Policy = "keep mine",
        forbidden: NDArray[np.bool_] | None = None,
    ) -> Prepared:
        """Work out the edit that turns a box into a block; changes nothing.

        Parameters
        ----------
        name : str
            For the history.
        box : Box
            Where.
        after : ndarray
            The block that a tool or the network gave.
        source : Source
            Who made it; results of the network obey `policy`.
        policy : Policy
            What the network may change.
        forbidden : ndarray of bool, optional
            Further voxels of the box that may not change.

        Returns
        -------
        Prepared
        """
        version = self.version
        before = np.asarray(self.array[box])
        marks = self.marks[box]
        if after.shape != before.shape:
            raise CorrectionError(
                f"The result has the shape {after.shape}, its place {before.shape}."
            )
        if source == "model":
            mine = accept_model(before, after, marks, policy)
            if mine is not None:
                forbidden = mine if forbidden is None else forbidden | mine
        allowed, held = hold_back(before, after, self.locked, forbidden)
        edit = self._difference(name, box, before, allowed, source)
        return Prepared(replace(edit, held=held), version)

    def enter(self, prepared: Prepared, onto: Edit | None = None) -> Edit:
        """Carry out an edit and record it.

        Parameters
        ----------
        prepared : Prepared
            What to do.
        onto : Edit, optional
            Where this is the last step, both become one step, which is returned.

        Raises
        ------
        CorrectionError
            If the mask has changed since it was worked out.
        """
        if prepared.version != self.version:
            raise CorrectionError(
                "The mask has changed since the preview was made; look at it again."
            )
        edit = prepared.edit
        if not edit.empty:
            self._write(edit, undo=False)
            if onto is not None and self.history.next_undo is onto:
                edit = joined(onto, edit)
                self.history.amend(edit)
            else:
                self.history.record(edit)
            self._tell(prepared.edit)
        return edit

    def apply(self, name: str, box: Box, after: NDArray[Any], **options: Any) -> Edit:
        """Work out and carry out an edit at once; see `prepare`."""
        return self.enter(self.prepare(name, box, after, **options))

    def allow(
        self,
        box: Box,
        before: NDArray[Any],
        painted: NDArray[Any],
        forbidden: Callable[[Box], NDArray[np.bool_]] | None = None,
    ) -> tuple[NDArray[Any], int]:
        """Return what of a stroke may stay, and how many voxels may not change.

        Parameters
        ----------
        box : Box
            Where it was painted.
        before, painted : ndarray
            The box before, and as it was painted.
        forbidden : callable, optional
            Gives the voxels of a box that may not change.
        """
        rule = None if forbidden is None else forbidden(box)
        return hold_back(before, painted, self.locked, rule)

    def forbidden(
        self,
        box: Box,
        before: NDArray[Any],
        value: int | NDArray[Any],
        rule: Callable[[Box], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.bool_] | None:
        """Return where a stroke may not write; None where it may everywhere.

        Parameters
        ----------
        box : Box
            What the stroke touches.
        before : ndarray
            The box as it is.
        value : int or ndarray
            What would be written there.
        rule : callable, optional
            Gives further voxels of a box that may not change.
        """
        kept = None if rule is None else rule(box)
        if not self.locked:
            return kept
        shut = is_locked(before, value, self.locked)
        return shut if kept is None else kept | shut

    def adopt(
        self,
        name: str,
        box: Box,
        before: NDArray[Any],
        after: NDArray[Any],
        *,
        source: Source = "brush",
        held: int = 0,
    ) -> Edit:
        """Record what somebody else writes into the array, now or in a moment.

        Parameters
        ----------
        name : str
            For the history.
        box : Box
            Where.
        before, after : ndarray
            The box before, and as `allow` left it.
        source : Source
            Who painted.
        held : int
            As `allow` counted them.

        Returns
        -------
        Edit
            Recorded, unless nothing is left of it.
        """
        edit = replace(self._difference(name, box, before, after, source), held=held)
        if not edit.empty:
            self.model_labels.note(edit.patches, self.marks)
            for patch in edit.marks:
                patch.write(self.marks, undo=False)
            self._count(edit, 1)
            self.history.record(edit)
            self._tell(edit)
        return edit

    def change_classes(self, name: str, classes: Sequence[LabelClass]) -> Edit:
        """Change the list of classes: names, colours, locks, order."""
        values = [info.value for info in classes]
        if len(set(values)) < len(values) or 0 in values:
            raise CorrectionError("Every class needs a number other than 0 of its own.")
        edit = Edit(name, "classes", classes=(self._classes, tuple(classes)))
        self._classes = tuple(classes)
        self.version += 1
        self.history.record(edit)
        self._tell(edit)
        return edit

    def start_classes(self, classes: Sequence[LabelClass]) -> None:
        """Set the list of classes without a step: it was found, not edited."""
        self._classes = tuple(classes)

    def replace_array(self, array: Any, name: str = "Data replaced") -> Edit | None:
        """Follow somebody who put another array in place of this one.

        Parameters
        ----------
        array : array-like
            The new one. Of the same shape and type, it is one more step that can be
            undone; else the history begins anew.
        name : str
            For the history.

        Returns
        -------
        Edit or None
            None where the history had to begin anew.
        """
        old, self.array = self.array, array
        if old is array:
            return None
        if old.shape != array.shape or old.dtype != array.dtype:
            self.image = None
            self.marks = np.zeros(array.shape, bool)
            self.model_labels = ModelLabels(array.shape, array.dtype)
            self.version += 1
            self.history.clear()
            if self.counts is not None:
                self.count()
            self.changed.emit(full_box(array.shape))
            return None
        edit = self._difference(
            name, full_box(array.shape), np.asarray(old), np.asarray(array), "foreign"
        )
        self.version += 1
        if not edit.empty:
            self._count(edit, 1)
            self.history.record(edit)
            self._tell(edit)
        return edit

    # ------------------------------------------------------------------ history

    def undo(self) -> Edit | None:
        """Undo the last step; None where there is none."""
        edit = self.history.step_back()
        if edit is not None:
            self._write(edit, undo=True)
            self._tell(edit)
        return edit

    def redo(self) -> Edit | None:
        """Redo the step that was undone last; None where there is none."""
        edit = self.history.step_forward()
        if edit is not None:
            self._write(edit, undo=False)
            self._tell(edit)
        return edit

    def go_to(self, position: int) -> None:
        """Undo or redo until so many steps are done."""
        while self.history.position > position and self.undo() is not None:
            pass
        while self.history.position < position and self.redo() is not None:
            pass

    # ------------------------------------------------------------------ details

    def _difference(
        self,
        name: str,
        box: Box,
        before: NDArray[Any],
        after: NDArray[Any],
        source: Source,
    ) -> Edit:
        origin = [s.start for s in box]
        patches = differences(before, after, origin)
        marks: tuple[Any, ...] = ()
        if patches and source in ("brush", "tool", "model"):
            own = self.marks[box]
            # What a person changed is marked; what the network overwrote no more.
            person = source != "model"
            marked = np.where(before != after, person, own)
            marks = differences(own, marked, origin)
        tally = tally_patches(patches, self.image) if self.counts is not None else None
        return Edit(name, source, patches, marks, tally)

    def _write(self, edit: Edit, *, undo: bool) -> None:
        # Patches of a step that was made of several may lie over each other.
        order = -1 if undo else 1
        for patch in edit.patches[::order]:
            patch.write(self.array, undo=undo)
        if not undo and edit.source in ("brush", "tool"):
            self.model_labels.note(edit.patches, self.marks)
        for patch in edit.marks[::order]:
            patch.write(self.marks, undo=undo)
        if edit.classes is not None:
            self._classes = edit.classes[0 if undo else 1]
        self._count(edit, -1 if undo else 1)

    def _count(self, edit: Edit, sign: int) -> None:
        if self.counts is None:
            return
        tally = edit.tally
        if tally is None:  # made before anybody counted
            tally = tally_patches(edit.patches, self.image)
        if tally is not None:
            self.counts.add(tally, sign)

    def _tell(self, edit: Edit) -> None:
        self.version += 1
        self.changed.emit(edit.box)
