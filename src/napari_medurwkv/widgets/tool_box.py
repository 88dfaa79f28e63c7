"""One tool in use: its parameters, scope and drawing, its preview, Apply and Cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.correction.scope import Scope
from napari_medurwkv.correction.tools import Request
from napari_medurwkv.errors import CorrectionError
from napari_medurwkv.widgets.class_table import format_size
from napari_medurwkv.widgets.drawing import Drawing
from napari_medurwkv.widgets.feature_source import FeatureSource
from napari_medurwkv.widgets.layer_picker import LayerPicker
from napari_medurwkv.widgets.look import RED, WrappedLabel, heading, set_tone
from napari_medurwkv.widgets.tool_form import ToolForm
from napari_medurwkv.widgets.tool_preview import ToolPreview

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medurwkv.correction.edits import Edit
    from napari_medurwkv.correction.tools import Tool
    from napari_medurwkv.widgets.correction_session import CorrectionSession
    from napari_medurwkv.widgets.slice_navigator import SliceNavigator

__all__ = ["ToolBox", "describe"]

_WHICH = ("all classes", "selected classes")
# Tools that never take all classes, and tools that the drawing tells which.
_SELECTION = ("merge", "delete")
_OWN_CLASSES = (
    "keep_picked",
    "grow_scribbles",
    "fix_scribbles",
    "split_line",
    "take_result",
)
_LEARNS = "fix_scribbles"
_SCOPES = ("this slice", "slab", "region on screen", "volume")
_ASKS = {
    "point": "Click an island in the mask.",
    "line": "Draw a line across the object; double-click ends it.",
    "polygon": "Draw a polygon; double-click ends it.",
    "scribbles": "Paint strokes: label 1 is background, the others are the classes.",
}


class ToolBox(QWidget):
    """The tool in use.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where previews and drawings lie.
    navigator : SliceNavigator
        Knows which slice is on screen.
    """

    applied = Signal(object)
    put_away = Signal()

    def __init__(
        self, viewer: Any, navigator: SliceNavigator, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._navigator = navigator
        self._session: CorrectionSession | None = None
        self.tool: Tool | None = None
        self.selected_classes: Callable[[], tuple[int, ...]] = tuple
        self.preview = ToolPreview(viewer, self)
        self.drawing = Drawing(viewer, self)
        self.title = heading("")
        self.hint = WrappedLabel()
        self.form = ToolForm()
        self.scope = QComboBox()
        self.scope.addItems(_SCOPES)
        self.which = QComboBox()
        self.which.addItems(_WHICH)
        self.which.setToolTip("Which classes of the list the tool treats")
        self.around = QSpinBox()
        self.around.setRange(1, 500)
        self.around.setValue(2)
        self.around.setPrefix("± ")
        self.around.setSuffix(" slices")
        self.image = LayerPicker(viewer, Image, "image for this tool")
        # Previews make layers active: the choice must not follow them.
        self.learned = FeatureSource(self)
        self.other = LayerPicker(viewer, Labels, "other labels layer", follow=False)
        self.status = WrappedLabel()
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.button = QPushButton("Apply")
        self.button.setToolTip("Put what is shown into the mask (Enter)")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Put the tool away; the mask stays (Escape)")
        self._lay_out()
        self.form.changed.connect(self.refresh)
        self.scope.currentIndexChanged.connect(self.refresh)
        self.around.valueChanged.connect(self.refresh)
        self.which.currentIndexChanged.connect(self.refresh)
        self.image.layer_changed.connect(self.refresh)
        self.other.layer_changed.connect(self.refresh)
        self.learned.changed.connect(self.refresh)
        self.drawing.changed.connect(self.refresh)
        self.preview.ready.connect(self._on_ready)
        self.preview.failed.connect(self._on_failed)
        self.preview.progressed.connect(self._on_progress)
        self.button.clicked.connect(self.apply)
        self.cancel_button.clicked.connect(self.cancel)
        viewer.dims.events.current_step.connect(self._on_slice)
        viewer.dims.events.order.connect(self._on_slice)
        viewer.dims.events.ndisplay.connect(self._on_slice)
        self.hide()

    @property
    def ready(self) -> bool:
        """Whether Apply would do something."""
        return bool(self.button.isEnabled()) and self.tool is not None

    def use(self, session: CorrectionSession | None) -> None:
        """Work on another mask; a tool in use is put away."""
        self.show_tool(None)
        self._session = session
        self.other.leave_out(None if session is None else session.layer)

    def show_tool(self, tool: Tool | None) -> None:
        """Take a tool, or put the one in use away."""
        self._bind_keys(False)
        self.preview.clear()
        self.drawing.stop()
        self.tool = tool if self._session is not None else None
        classes = () if self._session is None else self._session.mask.classes
        self.form.show_tool(self.tool, {info.value: info.name for info in classes})
        self.setVisible(self.tool is not None)
        if self.tool is None or self._session is None:
            return
        self._name_target(self.tool)
        self.hint.setText(self.tool.hint)
        self._fit_scope(self.tool)
        needs = self.tool.needs
        self.image.setVisible("image" in needs)
        told = self.tool.target or self.tool.name in (*_SELECTION, *_OWN_CLASSES)
        self.which.setVisible(not told)
        self.learned.setVisible(self.tool.name == _LEARNS)
        if self.tool.name == _LEARNS:
            mask = self._session.mask.array
            self.learned.offer(self._session.layer, mask.ndim)
        self._bind_keys(True)
        if "point" in needs:
            self.drawing.pick(self._session)
        elif "line" in needs or "polygon" in needs:
            self.drawing.draw(self._session, "line" if "line" in needs else "polygon")
        elif "scribbles" in needs:
            self.drawing.scribble(self._session)
        self.refresh()

    def on_classes_chosen(self) -> None:
        """Follow other chosen classes, where the tool treats those."""
        tool = self.tool
        if tool is None:
            return
        if tool.target or tool.name in _SELECTION or self.which.currentIndex() == 1:
            self._name_target(tool)
            self.refresh()

    def _name_target(self, tool: Tool) -> None:
        """Say in the heading which class a tool changes."""
        title, session = tool.title, self._session
        if tool.target and session is not None:
            value = int(session.layer.selected_label)
            named = {info.value: info.name for info in session.mask.classes}
            title += f" – {named.get(value, f'label {value}')}"
        self.title.setText(title)

    def refresh(self, *_: Any) -> None:
        """Work the preview out again."""
        self.around.setVisible(self.scope.currentText() == "slab")
        session, tool = self._session, self.tool
        if session is None or tool is None:
            return
        self.other.setVisible("layer" in tool.needed(self.form.values()))
        self.button.setEnabled(False)
        missing = self._missing(tool)
        if missing:
            self._say(missing)
            return
        self._say("working it out…")
        self.preview.show(session, self._request)

    def apply(self) -> Edit | None:
        """Put what is shown into the mask."""
        try:
            edit = self.preview.apply()
        except CorrectionError as error:
            self._say(str(error), RED)
            self.refresh()
            return None
        if edit is not None:
            if edit.source == "model" and self._session is not None:
                self._session.take_uncertainty(self.other.layer)
            self.applied.emit(edit)
            self.cancel()
        return edit

    def cancel(self) -> None:
        """Put the tool away; the mask stays as it is."""
        self.show_tool(None)
        self.put_away.emit()

    def shut_down(self, alive: bool = True) -> None:
        """Stop everything: the panel goes."""
        self.preview.forget()
        if alive:
            self.show_tool(None)
            for name in ("current_step", "order", "ndisplay"):
                getattr(self._viewer.dims.events, name).disconnect(self._on_slice)
            self.image.disconnect_viewer()
            self.other.disconnect_viewer()
        self.learned.shut_down()

    # ------------------------------------------------------------------ details

    def _lay_out(self) -> None:
        scope = QHBoxLayout()
        scope.addWidget(self.scope, 1)
        scope.addWidget(self.around)
        scope.addWidget(self.which)
        buttons = QHBoxLayout()
        buttons.addWidget(self.button, 1)
        buttons.addWidget(self.cancel_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for part in (self.title, self.hint, self.form):
            column.addWidget(part)
        column.addLayout(scope)
        for part in (self.image, self.learned, self.other, self.status, self.progress):
            column.addWidget(part)
        column.addLayout(buttons)
        self.progress.hide()

    def _fit_scope(self, tool: Tool) -> None:
        session = self._session
        flat = session is not None and session.mask.array.ndim == 2
        self.scope.setVisible(not flat)
        self.scope.blockSignals(True)
        if flat or (not tool.flat and self.scope.currentText() == "this slice"):
            self.scope.setCurrentText("volume")
        self.scope.model().item(0).setEnabled(tool.flat)
        self.scope.blockSignals(False)

    def _missing(self, tool: Tool) -> str:
        if "point" in tool.needs and self.drawing.point is None:
            return _ASKS["point"]
        for need in ("line", "polygon"):
            if need in tool.needs and self.drawing.path is None:
                return _ASKS[need]
        if "scribbles" in tool.needs and self.drawing.scribbles is None:
            return _ASKS["scribbles"]
        if "image" in tool.needs and self.image.layer is None:
            return "Open the image first: this tool looks at it."
        other, session = self.other.layer, self._session
        needs_layer = "layer" in tool.needed(self.form.values())
        if needs_layer and session is not None:
            if other is None or other.unique_id == session.layer.unique_id:
                return "Choose another labels layer."
        return ""

    def _request(self) -> Request:
        session, tool = self._session, self.tool
        if session is None or tool is None:
            raise CorrectionError("Choose a mask and a tool first.")
        mask, counts = session.mask, session.mask.counts
        values = [info.value for info in mask.classes]
        if counts is not None:
            values += counts.values
        layer = session.layer
        needs_layer = "layer" in tool.needed(self.form.values())
        image = self.image.layer if "image" in tool.needs else None
        features = None
        if tool.name == _LEARNS and image is not None:
            size = session.mask.spacing if session.known_size else None
            features = self.learned.of(_finest(image), size, rgb=image.rgb)
        return Request(
            tool,
            self._scope(session),
            values=self.form.values(),
            classes=self._classes(tool),
            target=int(layer.selected_label),
            fresh=max(values, default=0) + 1,
            axis=self._navigator.axis,
            point=self.drawing.point,
            path=self.drawing.path,
            image=_plain(image, mix=tool.name == _LEARNS),
            features=features,
            scribbles=self.drawing.scribbles if "scribbles" in tool.needs else None,
            other=_plain(self.other.layer) if needs_layer else None,
        )

    def _classes(self, tool: Tool) -> tuple[int, ...] | None:
        if tool.name not in _SELECTION and self.which.currentIndex() == 0:
            return None
        chosen = self.selected_classes()
        if not chosen:
            raise CorrectionError("Select classes in the list first.")
        return chosen

    def _scope(self, session: CorrectionSession) -> Scope:
        shape, kind = session.mask.array.shape, self.scope.currentText()
        if len(shape) == 2 or kind == "volume":
            return Scope.volume(shape)
        axis, index = self._navigator.axis, self._navigator.index
        if kind == "this slice":
            return Scope.slice(shape, axis, index)
        if kind == "slab":
            return Scope.slab(shape, axis, index, self.around.value())
        low, high = np.asarray(session.layer.corner_pixels)
        box = []
        for k, n in enumerate(shape):
            start, stop = int(max(0, min(low[k], n - 1))), int(min(n, high[k] + 1))
            box.append(slice(0, n) if k == axis else slice(start, max(stop, start + 1)))
        return Scope("region", tuple(box))

    def _bind_keys(self, bind: bool) -> None:
        session = self._session
        if session is None or self.tool is None or not session.open:
            return
        for key, action in (("Enter", self.apply), ("Escape", self.cancel)):
            session.layer.bind_key(key, None)
            if bind:
                session.layer.bind_key(
                    key, lambda layer, act=action: (act(), None)[1], overwrite=True
                )

    def _on_slice(self, event: Any = None) -> None:
        if self.tool is not None and self.scope.currentText() != "volume":
            self.refresh()

    def _on_ready(self, edit: Edit) -> None:
        self.progress.hide()
        if edit.empty:
            held = f"; {edit.held} voxels are locked or protected" if edit.held else ""
            self._say(f"This changes nothing{held}.")
            return
        self._say(describe(edit, self._session))
        self.button.setEnabled(True)

    def _on_failed(self, sentence: str) -> None:
        self.progress.hide()
        self._say(sentence, RED)

    def _on_progress(self, fraction: float) -> None:
        self.progress.setVisible(True)
        self.progress.setValue(round(1000 * fraction))

    def _say(self, text: str, color: str | None = None) -> None:
        set_tone(self.status, color)
        self.status.setText(text)


def describe(edit: Edit, session: CorrectionSession | None) -> str:
    """Say how many voxels, and how much, an edit changes."""
    text = f"{edit.voxels:,} voxels".replace(",", "\u202f")
    if session is not None and session.known_size:
        flat = session.mask.array.ndim == 2
        one = float(np.prod(session.mask.spacing)) / (1 if flat else 1000)
        text += f", {format_size(edit.voxels * one, 'mm²' if flat else 'mL')}"
    text += " will change"
    if edit.held:
        text += f"; {edit.held} are locked or protected and stay"
    return text + "."


class _Mixed:
    """A colour image as a grey one, read by boxes."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape = data.shape[:-1]

    def __getitem__(self, box: Any) -> Any:
        return np.asarray(self._data[box], np.float32).mean(axis=-1)


def _finest(layer: Any) -> Any:
    """Return a layer's data at full resolution."""
    return layer.data[0] if layer.multiscale else layer.data


def _plain(layer: Any, *, mix: bool = False) -> Any:
    """Return a layer's data with one channel, colours mixed if so asked."""
    if layer is None:
        return None
    data = _finest(layer)
    if getattr(layer, "rgb", False):
        if mix:
            return _Mixed(data)
        raise CorrectionError(
            f"{layer.name} is in colour; this tool needs a grey image."
        )
    return data
