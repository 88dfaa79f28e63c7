"""The line that says, before a run, how long it will take and how much memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medurwkv.errors import CancelledError
from napari_medurwkv.inference.engine_protocol import EngineBusyError
from napari_medurwkv.inference.further import Further
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.look import AMBER, RED, WrappedLabel, set_tone

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.inference.forecast import Foresight
    from napari_medurwkv.widgets.shared_engine import Engine

__all__ = ["ForecastLine", "RunQuestion"]

_SETTLE_MS = 300
NOTHING_MORE = Further()


@dataclass(frozen=True, slots=True)
class RunQuestion:
    """What decides how long a run takes.

    Attributes
    ----------
    geometry : Geometry
        Of the image.
    dtype : str
        Of its values.
    rgb : bool
        Whether it has colours.
    model : Path
        The checkpoint.
    device, overlap, instances, region
        As for `EngineClient.segment`.
    further : Further
        Views and mirror images.
    images : int
        How many such images are segmented: frames.
    colours : int
        How many channels there are, if `rgb`.
    """

    geometry: Geometry
    dtype: str
    rgb: bool
    model: Path
    device: str
    overlap: float | None
    instances: bool
    region: tuple[slice, ...] | None = None
    further: Further = NOTHING_MORE
    images: int = 1
    colours: int = 3

    @property
    def key(self) -> str:
        """Equal for questions that have one answer."""
        shape, spacing = self.geometry.display_shape, self.geometry.display_spacing
        data = (self.dtype, self.rgb, self.colours, self.images)
        options = (self.device, self.overlap, self.instances, self.region)
        further = (self.further.tta, self.further.views)
        return repr((shape, spacing, data, self.model, options, further))

    def put(self, engine: Engine) -> Foresight:
        """Ask the engine; blocks."""
        return engine.foresee(
            self.geometry,
            self.dtype,
            self.model,
            rgb=self.rgb,
            colours=self.colours,
            device=self.device,
            overlap=self.overlap,
            instances=self.instances,
            region=self.region,
            further=self.further,
        )


class ForecastLine(QWidget):
    """Asks the engine in a thread, once the choices have settled.

    What has been answered is remembered, so going back and forth costs nothing.
    """

    def __init__(self, engine: Engine, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._label = WrappedLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label)
        self._question: RunQuestion | None = None
        self._answers: dict[str, Foresight] = {}
        self._task: BackgroundTask | None = None
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._ask)
        self.hide()

    @property
    def text(self) -> str:
        """What the line says; "" where nothing is known."""
        return str(self._label.text())

    def show_question(self, question: RunQuestion | None) -> None:
        """Say what would be run; the answer is shown when it is there.

        Parameters
        ----------
        question : RunQuestion or None
            None where nothing can be run.
        """
        same = (
            question is not None
            and self._question is not None
            and question.key == self._question.key
        )
        if same and (self._task is not None or self._settle.isActive() or self.text):
            return
        self.abandon()
        self._question = question
        known = None if question is None else self._answers.get(question.key)
        if known is not None:
            self._show(known)
            return
        self._say("", None)
        if question is not None:
            self._settle.start()

    def abandon(self) -> None:
        """Forget about the answer."""
        self._settle.stop()
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _ask(self) -> None:
        question, engine = self._question, self._engine
        if question is not None:
            self._task = in_background(lambda: question.put(engine), self._hear)

    def _hear(self, outcome: Outcome[Foresight]) -> None:
        self._task = None
        if outcome.value is not None and self._question is not None:
            # How much is free changes: what did not fit may fit the next time.
            if not outcome.value.problem:
                self._answers[self._question.key] = outcome.value
            self._show(outcome.value)
        elif isinstance(outcome.error, EngineBusyError):
            # A run of another panel, or a preview: ask when it may be over.
            self._settle.start()
        elif not isinstance(outcome.error, CancelledError):
            # A run would end with this sentence.
            self._say(str(outcome.error), AMBER)

    def _show(self, found: Foresight) -> None:
        count = 1 if self._question is None else self._question.images
        text = found.times(count).text
        if found.problem:
            self._say(f"{text}. {found.problem}", RED)
        else:
            self._say(f"{text}.", None)

    def _say(self, text: str, color: Any) -> None:
        set_tone(self._label, color)
        self._label.setText(text)
        self.setVisible(bool(text))
