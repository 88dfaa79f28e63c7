"""One history of everything that changes a mask, with a budget in bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from psygnal import Signal

if TYPE_CHECKING:
    from napari_medurwkv.correction.edits import Edit

__all__ = ["DEFAULT_BUDGET", "History"]

DEFAULT_BUDGET = 512 << 20
"""Bytes that the steps of one mask may take."""


class History:
    """Steps in the order in which they happened; it stores, others apply.

    A new step ends what could be redone. Where the steps take more than the budget the
    oldest are forgotten, and `forgotten` counts them; the newest always stays.

    Parameters
    ----------
    budget : int
        Bytes.
    """

    changed = Signal()

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        self.budget = budget
        self._done: deque[Edit] = deque()
        self._undone: list[Edit] = []
        self._nbytes = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._done) + len(self._undone)

    @property
    def steps(self) -> tuple[Edit, ...]:
        """All steps, the oldest first, with those that were undone."""
        return (*self._done, *reversed(self._undone))

    @property
    def position(self) -> int:
        """How many of `steps` are done."""
        return len(self._done)

    @property
    def nbytes(self) -> int:
        """Bytes that all steps take."""
        return self._nbytes

    @property
    def next_undo(self) -> Edit | None:
        """The step that would be undone next."""
        return self._done[-1] if self._done else None

    @property
    def next_redo(self) -> Edit | None:
        """The step that would be redone next."""
        return self._undone[-1] if self._undone else None

    def record(self, edit: Edit) -> None:
        """Add a step that has just happened."""
        self._nbytes -= sum(step.nbytes for step in self._undone)
        self._undone.clear()
        self._done.append(edit)
        self._nbytes += edit.nbytes
        while self._nbytes > self.budget and len(self._done) > 1:
            self._nbytes -= self._done.popleft().nbytes
            self.forgotten += 1
        self.changed.emit()

    def amend(self, edit: Edit) -> None:
        """Put a step in place of the last one, which it contains."""
        if not self._done:
            raise ValueError("there is no step to amend")
        self._nbytes -= self._done.pop().nbytes
        self.record(edit)

    def step_back(self) -> Edit | None:
        """Take the step that is to be undone; None where there is none."""
        if not self._done:
            return None
        edit = self._done.pop()
        self._undone.append(edit)
        self.changed.emit()
        return edit

    def step_forward(self) -> Edit | None:
        """Take the step that is to be redone; None where there is none."""
        if not self._undone:
            return None
        edit = self._undone.pop()
        self._done.append(edit)
        self.changed.emit()
        return edit

    def clear(self) -> None:
        """Forget everything, such as when the mask has got another shape."""
        self.forgotten += len(self._done)
        self._done.clear()
        self._undone.clear()
        self._nbytes = 0
        self.changed.emit()
