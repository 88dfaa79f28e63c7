"""Measure a finished mask again after edits, without holding up the brush."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.mask_measures import measure_mask

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.measure import ClassMeasure

__all__ = ["LiveMeasures", "Measured"]

_PAUSE_MS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A mask that is watched, and what its values mean."""

    layer: Labels
    geometry: Geometry
    classes: tuple[ClassInfo, ...]
    instances: bool


class LiveMeasures(QObject):
    """Watches one labels layer; counts in a thread once edits pause.

    napari tells of brush strokes by `paint`, but of undo only by `set_data`, which also
    comes with every change of slice. So a count may find nothing new; that is cheaper
    than a number that is wrong.
    """

    measured = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._subject: Measured | None = None
        self._task: BackgroundTask | None = None
        self._again = False
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._count)

    def watch(self, subject: Measured) -> None:
        """Watch this mask, and no other any more."""
        self.stop()
        self._subject = subject
        for event in ("paint", "set_data", "data"):
            getattr(subject.layer.events, event).connect(self._change)

    def abandon(self) -> None:
        """Forget about a count under way."""
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def stop(self) -> None:
        """Watch nothing."""
        self._pause.stop()
        self.abandon()
        if self._subject is not None:
            for event in ("paint", "set_data", "data"):
                getattr(self._subject.layer.events, event).disconnect(self._change)
            self._subject = None

    def _change(self, event: Any = None) -> None:
        self._pause.start()

    def _count(self) -> None:
        subject = self._subject
        if subject is None:
            return
        if self._task is not None:
            self._again = True
            return
        labels = subject.layer.data

        def measure() -> tuple[ClassMeasure, ...]:
            return measure_mask(
                labels, subject.geometry, subject.classes, instances=subject.instances
            )

        self._task = in_background(measure, self._tell)

    def _tell(self, outcome: Outcome[tuple[ClassMeasure, ...]]) -> None:
        self._task = None
        if outcome.error is not None:
            raise outcome.error
        self.measured.emit(outcome.value)
        if self._again:
            self._again = False
            self._pause.start()
