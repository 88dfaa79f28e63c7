"""The Segment panel: an image, a model, one button."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.inference.view_names import VIEWS
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.provenance import RESEARCH_USE
from napari_medurwkv.widgets.adjust_panel import AdjustPanel
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.denoise_run import DenoiseEnd, DenoiseRun
from napari_medurwkv.widgets.device_line import DeviceLine
from napari_medurwkv.widgets.foldout import Foldout
from napari_medurwkv.widgets.forecast_line import ForecastLine, RunQuestion
from napari_medurwkv.widgets.image_picker import ImagePicker
from napari_medurwkv.widgets.kept_mask import KeptMask
from napari_medurwkv.widgets.live_measures import Measured
from napari_medurwkv.widgets.look import AMBER, RED, WrappedLabel, heading, scrolled
from napari_medurwkv.widgets.model_picker import ModelPicker, list_installed
from napari_medurwkv.widgets.part_choice import PartChoice
from napari_medurwkv.widgets.part_regions import rectangle_region, slice_region
from napari_medurwkv.widgets.removal import call_on_removal
from napari_medurwkv.widgets.result_view import ResultView
from napari_medurwkv.widgets.run_button import RunButton
from napari_medurwkv.widgets.run_options import RunOptions
from napari_medurwkv.widgets.run_status import RunStatus
from napari_medurwkv.widgets.segment_run import RunEnd, RunRequest, SegmentRun
from napari_medurwkv.widgets.settings import read_preferences
from napari_medurwkv.widgets.shared_engine import acquire_engine, release_engine
from napari_medurwkv.widgets.warm_up import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Layer

    from napari_medurwkv.checkpoints import ModelCard
    from napari_medurwkv.inference.further import Further
    from napari_medurwkv.widgets.layer_image import LayerImage
    from napari_medurwkv.widgets.model_picker import ModelList
    from napari_medurwkv.widgets.shared_engine import Engine

__all__ = ["SegmentPanel"]

logger = logging.getLogger(__name__)

_NO_IMAGE = "Open an image, or take one from File → Open Sample → Med-URWKV."


class SegmentPanel(QWidget):
    """Segment an image layer with a model, and show what came out.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are segmented.
    engine : Engine, optional
        Does the work; the shared one by default.
    list_models : callable, optional
        Gives what can be chosen; what is installed by default.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        engine: Engine | None = None,
        list_models: Callable[[], ModelList] | None = None,
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._shares_engine = engine is None
        self._engine = acquire_engine() if engine is None else engine
        preferences = read_preferences()
        self._run: SegmentRun | DenoiseRun | None = None
        self._pending = False
        self._open = True
        self._hidden: list[Layer] = []

        self.images = ImagePicker(viewer)
        self.models = ModelPicker(
            preferences.default_model, list_models or list_installed
        )
        self.options = RunOptions(preferences)
        self.part = PartChoice(viewer)
        self.button = RunButton()
        self.device = DeviceLine()
        self.forecast = ForecastLine(self._engine)
        self.result = ResultView(viewer)
        self.adjust = AdjustPanel(viewer)
        self._hint = WrappedLabel()
        self._status = RunStatus()
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(50)
        self._settled.timeout.connect(self._scroll_down)
        self._lay_out()
        self._connect()
        self._warming: BackgroundTask = in_background(warm_up, self._warmed)
        self.device.ask(self._engine, self.options.device)
        self.models.take_drops_of(self)
        call_on_removal(self, self.shut_down)

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._run is not None

    @property
    def preparing(self) -> bool:
        """Whether models, device or napari's labels are still being looked up."""
        return self.models.listing or self.device.checking or self._warming.running

    @property
    def ready(self) -> bool:
        """Whether the button would start a run."""
        return self._run is None and self.button.isEnabled()

    @property
    def hint(self) -> str:
        """Why the button cannot be pressed; "" if it can."""
        return str(self._hint.text())

    @property
    def status(self) -> str:
        """What came of the last run."""
        return str(self._status.text())

    def segment_layer(self, layer: Layer) -> None:
        """Choose an image layer and segment it as soon as it has been looked at."""
        self.images.choose(layer)
        self._pending = True
        self._update_ready()

    def show_options(self) -> None:
        """Unfold the options."""
        self._more.unfold()

    def start(self) -> None:
        """Segment the chosen image, or the part that is chosen, with the model."""
        self._start(preview=False)

    def preview(self) -> None:
        """Segment the slice on screen alone."""
        self._start(preview=True)

    def _start(self, *, preview: bool) -> None:
        layer, picture = self.images.layer, self.images.picture
        entry = self.models.entry
        if self._run is not None or layer is None or picture is None or entry is None:
            return
        self._pending = False
        self._status.say("", None)
        self.result.clear()
        self.adjust.use(None)
        run: SegmentRun | DenoiseRun
        try:
            region, part = self._region(layer, picture, preview=preview)
            request = RunRequest(
                layer,
                picture,
                entry,
                device=self.options.device,
                overlap=self.options.overlap,
                instances=self.options.instances,
                keep_partial=read_preferences().keep_partial,
                region=region,
                part=part,
                further=self._further(entry.card, preview=preview),
                all_frames=self.images.axes.all_frames and not preview,
            )
            if entry.card.task == "restoration":
                run = DenoiseRun(self._viewer, request, self)
                run.ended.connect(self._end_denoising)
            else:
                request.check()
                run = SegmentRun(self._viewer, self._engine, request, self)
                run.ended.connect(self._end)
                self._hide_earlier(picture.snapshot.layer_id)
        except MedurwkvError as error:
            self._status.say(str(error), RED)
            return
        self._run = run
        run.progressed.connect(self._progress)
        self.button.show_starting()
        self._allow_changes(False)
        run.start()

    def _further(self, card: ModelCard, *, preview: bool) -> Further:
        further = self.options.further
        if preview and card.slice_axis is not None:
            # A slice of every other view would take all of their slices.
            return replace(further, views=(VIEWS[card.slice_axis],))
        return further

    def _region(
        self, layer: Layer, picture: LayerImage, *, preview: bool
    ) -> tuple[tuple[slice, ...] | None, str]:
        """Say what part is asked for, and what to call it."""
        if preview:
            return slice_region(self._viewer, layer, picture), "preview"
        shapes = self.part.shapes
        if shapes is None or self.part.isHidden():
            return None, ""
        return rectangle_region(shapes, layer, picture), "part"

    def cancel(self) -> None:
        """Stop the run under way; does nothing without one."""
        if self._run is not None and not self._run.cancelled:
            self.button.show_cancelling()
            self._run.cancel()

    def shut_down(self, alive: bool = True) -> None:
        """Stop everything: the panel goes.

        Parameters
        ----------
        alive : bool
            Whether the widgets still live; they do not when the window was closed.
        """
        if not self._open:
            return
        self._open = False
        if self._run is not None:
            self._run.abandon(alive)
            self._run = None
        parts = (self._warming, self.result, self.device, self.models, self.images)
        for part in (*parts, self.forecast):
            part.abandon()
        if not alive:
            self.adjust.abandon()
        else:
            self.result.clear()
            self.adjust.use(None)
            self.images.disconnect_viewer()
            self.part.disconnect_viewer()
            self.setEnabled(False)
        if self._shares_engine:
            release_engine()

    # ------------------------------------------------------------------ building

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        self._more = Foldout("Options", self.options)
        for widget in (
            heading("Image"),
            self.images,
            heading("Model"),
            self.models,
            self.options.separate,
            self._more,
            self.part,
            self.button,
            self.forecast,
            self._hint,
            self.device,
            self._status,
            self.result,
            self.adjust,
        ):
            column.addWidget(widget)
        column.addStretch(1)
        self._scroll = scrolled(content)
        footer = WrappedLabel(RESEARCH_USE)
        footer.setContentsMargins(8, 0, 8, 4)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._scroll, 1)
        outer.addWidget(footer)
        self.setMinimumWidth(300)
        for label in (self._hint, self._status):
            label.hide()

    def _connect(self) -> None:
        self.images.picture_changed.connect(self._picture_changed)
        self.models.model_changed.connect(self._model_changed)
        self.options.device_changed.connect(self._device_changed)
        self.options.changed.connect(self._foresee)
        self.button.segment_clicked.connect(self.start)
        self.part.preview_clicked.connect(self.preview)
        self.button.cancel_clicked.connect(self.cancel)
        self._picture_changed()

    # ----------------------------------------------------------------- following

    def _picture_changed(self) -> None:
        self.models.suit(self.images.dimensions)
        self.part.show_dimensions(self.images.dimensions)
        self._update_ready()

    def _model_changed(self, entry: Any) -> None:
        self.options.show_card(None if entry is None else entry.card)
        # An image is denoised as a whole.
        self.part.setVisible(entry is None or entry.card.task != "restoration")
        restores = entry is not None and entry.card.task == "restoration"
        self.button.offer("Denoise" if restores else "Segment")
        self._update_ready()

    def _device_changed(self, device: str) -> None:
        self.device.ask(self._engine, device)

    def _warmed(self, outcome: Outcome[None]) -> None:
        if outcome.error is not None:
            logger.warning("napari's labels could not be prepared: %s", outcome.error)

    def _update_ready(self) -> None:
        if self._run is not None:
            return
        hint, waiting = self._obstacle()
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))
        for button in (self.button, self.part.preview):
            button.setEnabled(not hint and not waiting)
        if self._pending and not waiting:
            self._pending = False
            if not hint:
                self.start()
        self._foresee()

    def _foresee(self) -> None:
        """Have the line beside the button say what a run would take."""
        if self._run is not None:
            return
        picture, entry = self.images.picture, self.models.entry
        ready = self.button.isEnabled() and picture is not None and entry is not None
        if not ready or entry.card.task == "restoration":
            self.forecast.show_question(None)
            return
        self.forecast.show_question(
            RunQuestion(
                picture.geometry,
                str(picture.snapshot.data.dtype),
                picture.snapshot.rgb,
                entry.path,
                self.options.device,
                self.options.overlap,
                self.options.instances,
                further=self.options.further,
                images=len(picture.frames()) if self.images.axes.all_frames else 1,
                colours=picture.snapshot.colours,
            )
        )

    def _obstacle(self) -> tuple[str, bool]:
        """Say why nothing can be segmented now, and whether that will pass."""
        if self.images.layer is None:
            return _NO_IMAGE, False
        if self.images.problem:
            return self.images.problem, False
        picture, entry = self.images.picture, self.models.entry
        if picture is None or self.models.listing:
            return "", True
        if entry is None:
            return "Choose a model, or open a checkpoint of your own.", False
        try:
            picture.check(entry.card)
        except MedurwkvError as error:
            return str(error), False
        return "", False

    def _allow_changes(self, allow: bool) -> None:
        options = (self.options, self.options.separate)
        for widget in (self.images, self.models, self.part, *options):
            widget.setEnabled(allow)

    def _hide_earlier(self, image_id: str) -> None:
        """Hide earlier masks of the image: below the new one they would pass for it."""
        self._hidden = []
        for layer in self._viewer.layers:
            block = layer.metadata.get(METADATA_KEY)
            made_here = isinstance(block, dict) and "model" in block
            if made_here and block["image"]["id"] == image_id and layer.visible:
                layer.visible = False
                self._hidden.append(layer)

    # ------------------------------------------------------------------- the run

    def _progress(self, fraction: float, seconds: float) -> None:
        if self._run is not None and not self._run.cancelled:
            self.button.show_progress(fraction, seconds)

    def _end(self, end: RunEnd) -> None:
        run, self._run = self._run, None
        self._allow_changes(True)
        self.button.show_idle()
        if end.layer is None:
            for layer in self._hidden:
                layer.visible = True
        self._status.tell(end, earlier=bool(self._hidden))
        self._hidden = []
        if end.layer is not None and end.segmentation is not None and end.measures:
            # What came out is at the end; the layout has to make room for it first.
            self._settled.start()
            segmentation = end.segmentation
            subject = Measured(
                end.layer,
                segmentation.geometry,
                segmentation.classes,
                segmentation.instances,
            )
            self.result.show_mask(subject, end.measures)
            kept = segmentation.probabilities
            picture = run.picture if isinstance(run, SegmentRun) else None
            if kept is not None and picture is not None:
                self.adjust.use(KeptMask(end.layer, kept, picture))
        self._update_ready()

    def _end_denoising(self, end: DenoiseEnd) -> None:
        self._run = None
        self._allow_changes(True)
        self.button.show_idle()
        if end.state == "complete":
            self._status.say(
                f"Denoised in {end.seconds:.1f} s on {end.device}. What a network "
                "restored is not what was measured.",
                AMBER,
            )
        elif end.state == "cancelled":
            self._status.say("Cancelled; nothing was changed.", None)
        else:
            self._status.report(end.error, kept=False)
        self._update_ready()

    def _scroll_down(self) -> None:
        bar = self._scroll.verticalScrollBar()
        bar.setValue(bar.maximum())
