"""Go to the next slice that needs a look, and note that it has had one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_medurwkv.correction.review import (
    next_ranked,
    next_slice,
    rank_slices,
    slices_with_islands,
    slices_with_label,
)
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medurwkv.widgets.correction_session import CorrectionSession

__all__ = ["SliceNavigator"]

_UNCERTAIN = "by uncertainty"
_KINDS = ("with label", "with islands", "not reviewed", _UNCERTAIN)


class SliceNavigator(QWidget):
    """Buttons to the previous and next slice of a kind, and a review mark.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose slider moves.
    """

    told = Signal(str)

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._session: CorrectionSession | None = None
        self._task: BackgroundTask | None = None
        self.kind = QComboBox()
        self.kind.addItems(_KINDS)
        self.kind.setToolTip(
            "Which slices the arrows go to; by uncertainty: those that the model was "
            "least sure of first"
        )
        self.back, self.forth = QPushButton("◀"), QPushButton("▶")
        self.back.setToolTip("Previous slice of this kind (,)")
        self.forth.setToolTip("Next slice of this kind (.)")
        self.check = QPushButton("Checked")
        self.check.setToolTip(
            "Note that this slice has been looked at (K); once more: that it has not"
        )
        self.state = QLabel()
        for button in (self.back, self.forth):
            button.setMaximumWidth(34)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.back, self.kind, self.forth, self.check, self.state):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.back.clicked.connect(lambda: self.go(-1))
        self.forth.clicked.connect(lambda: self.go(1))
        self.check.clicked.connect(self.mark)

    def use(self, session: CorrectionSession | None) -> None:
        """Work on another mask."""
        self.forget()
        self._session = session
        flat = session is None or session.mask.array.ndim == 2
        self.setVisible(not flat)
        self.show_state()

    def forget(self) -> None:
        """Forget about a search under way."""
        if self._task is not None:
            self._task.abandon()
            self._task = None

    @property
    def axis(self) -> int:
        """Axis of the mask across which slices are shown."""
        session = self._session
        ndim = 3 if session is None else session.mask.array.ndim
        dims = self._viewer.dims
        displayed = {axis - dims.ndim + ndim for axis in dims.displayed}
        hidden = [axis for axis in range(ndim) if axis not in displayed]
        return hidden[0] if hidden else 0

    @property
    def index(self) -> int:
        """Number of the slice on screen."""
        session = self._session
        if session is None:
            return 0
        layer, dims = session.layer, self._viewer.dims
        point = layer.world_to_data(dims.point[-layer.ndim :])
        count = session.mask.array.shape[self.axis]
        return min(max(round(float(point[self.axis])), 0), count - 1)

    def go(self, direction: Literal[1, -1]) -> None:
        """Go to the next or previous slice of the chosen kind."""
        session = self._session
        if session is None or self._task is not None:
            return
        axis, index, kind = self.axis, self.index, self.kind.currentText()
        if kind == _UNCERTAIN:
            self._go_by_doubt(session, axis, index, direction)
            return
        mask, review = session.mask, session.review
        array, counts = mask.array, mask.counts
        known = session.components.slices_with_islands()

        def search() -> NDArray[Any] | list[int]:
            if kind == "not reviewed":
                return [k for k in range(len(review)) if review[k] == "unseen"]
            if kind == "with islands":
                if known is not None and axis == 0:
                    return known
                return slices_with_islands(array, axis)
            if axis == 0 and counts is not None:
                return [k for v in counts.values for k in counts.planes(v).tolist()]
            return slices_with_label(array, axis)

        def done(outcome: Outcome[Any]) -> None:
            self._task = None
            if outcome.error is not None:
                raise outcome.error
            found = next_slice(outcome.value, index, direction)
            if found is None:
                where = "after" if direction > 0 else "before"
                self.told.emit(f"There is no slice {kind} {where} this one.")
            else:
                self.go_to(found, axis)

        self._task = in_background(search, done)

    def _go_by_doubt(
        self,
        session: CorrectionSession,
        axis: int,
        index: int,
        direction: Literal[1, -1],
    ) -> None:
        scores = session.uncertainty(axis)
        if scores is None:
            self.told.emit(
                "This mask has no uncertainty; segment with uncertainty switched on, "
                "then correct its result."
            )
            return
        ranked = rank_slices(scores)
        found = next_ranked(ranked, index, direction)
        if found is None:
            end = "last" if direction > 0 else "first"
            self.told.emit(f"This is the {end} slice by uncertainty.")
            return
        self.go_to(found, axis)
        place = ranked.tolist().index(found) + 1
        count = len(ranked)
        self.told.emit(f"Slice {found}: number {place} of {count} by uncertainty.")

    def go_to_class(self, value: int) -> None:
        """Go to the middle of a class, unless it is on the slice on screen."""
        session = self._session
        if session is None or self._task is not None or session.mask.array.ndim == 2:
            return
        axis, array, counts = self.axis, session.mask.array, session.mask.counts

        def search() -> NDArray[Any]:
            if axis == 0 and counts is not None:
                return counts.planes(value)
            return slices_with_label(array, axis, value)

        def done(outcome: Outcome[Any]) -> None:
            self._task = None
            if outcome.error is not None:
                raise outcome.error
            planes = outcome.value
            if len(planes) and self.index not in planes:
                self.go_to(int(planes[len(planes) // 2]), axis)

        if axis == 0 and counts is not None:
            done(Outcome(value=search()))
        else:
            self._task = in_background(search, done)

    def go_to(self, index: int, axis: int | None = None) -> None:
        """Show a slice."""
        session = self._session
        if session is None:
            return
        layer, dims = session.layer, self._viewer.dims
        point = list(layer.world_to_data(dims.point[-layer.ndim :]))
        own = self.axis if axis is None else axis
        point[own] = index
        world = layer.data_to_world(point)
        dims.set_point(own + dims.ndim - layer.ndim, float(world[own]))
        self.show_state()

    def mark(self) -> None:
        """Note that the slice on screen has been looked at; once more: that it has not.

        One that was corrected stays corrected.
        """
        session = self._session
        if session is None:
            return
        if self.axis != session.review.axis:
            self.told.emit("Review marks belong to the slices of the first axis.")
            return
        review, index = session.review, self.index
        if review[index] == "checked":
            review.forget(index)
        else:
            review.check(index)
        self.show_state()

    def show_state(self) -> None:
        """Show the mark of the slice on screen, and how many have one."""
        session = self._session
        if session is None:
            self.state.setText("")
            return
        review = session.review
        seen = len(review) - review.count("unseen")
        state = review[self.index] if self.axis == review.axis else ""
        self.state.setText(f"{state} · {seen}/{len(review)}".strip(" ·"))
