"""The Correct panel: tools, classes with live numbers, review, history, recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QVBoxLayout, QWidget

from napari_medurwkv.correction.catalogue import find_tool
from napari_medurwkv.correction.classes import LabelClass, lock_or_unlock, next_color
from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.widgets.class_buttons import ClassButtons
from napari_medurwkv.widgets.correct_classes import (
    CorrectClasses,
    class_rows,
    rows_as_text,
)
from napari_medurwkv.widgets.correct_keys import bind_keys, unbind_keys
from napari_medurwkv.widgets.correction_session import CorrectionSession, session_of
from napari_medurwkv.widgets.foldout import Foldout
from napari_medurwkv.widgets.history_list import HistoryList
from napari_medurwkv.widgets.layer_classes import grey_image_of
from napari_medurwkv.widgets.layer_picker import LayerPicker
from napari_medurwkv.widgets.look import (
    AMBER,
    WrappedLabel,
    heading,
    scrolled,
    set_tone,
)
from napari_medurwkv.widgets.range_brush import RangeBrush
from napari_medurwkv.widgets.recovery import RecoveryBanner, recovered_layer
from napari_medurwkv.widgets.removal import call_on_removal
from napari_medurwkv.widgets.slice_navigator import SliceNavigator
from napari_medurwkv.widgets.tool_box import ToolBox
from napari_medurwkv.widgets.tool_palette import ToolPalette

if TYPE_CHECKING:
    from pathlib import Path

    import napari.viewer
    from napari.layers import Layer
    from qtpy.QtGui import QShowEvent

    from napari_medurwkv.correction.edits import Edit
    from napari_medurwkv.correction.journal import Entry, Snapshot
    from napari_medurwkv.correction.tools import Tool

__all__ = ["CorrectPanel"]

_TOLD_MS = 8000


class CorrectPanel(QWidget):
    """Correct the mask of a labels layer.

    A mask that is chosen gets a session, which takes its history over from napari. It
    goes on while another mask is shown, and ends when its layer goes, or the panel.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose labels layers are listed.
    folder : Path, optional
        Of the journals; the user's state folder by default.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, folder: Path | None = None
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._folder = folder
        self.session: CorrectionSession | None = None
        self._sessions: dict[Any, CorrectionSession] = {}
        self._waiting: Layer | None = None
        self._entry: Entry | None = None
        self._open = True
        self._started = False
        # A session clears napari's history by making the layer uneditable a moment.
        self._switching = False
        self.picker = LayerPicker(viewer, Labels, "no labels layer yet")
        self.recovery = RecoveryBanner(folder)
        self.palette_ = ToolPalette()
        self.navigator = SliceNavigator(viewer)
        self.tools = ToolBox(viewer, self.navigator)
        self.brush = RangeBrush(viewer, self.navigator)
        self.classes = CorrectClasses()
        self.history = HistoryList()
        self._message = WrappedLabel()
        self._hush = QTimer(self)
        self._hush.setSingleShot(True)
        self._hush.setInterval(_TOLD_MS)
        self._hush.timeout.connect(self._message.hide)
        self.class_buttons = ClassButtons()
        self._lay_out()
        self.tools.selected_classes = lambda: self.classes.selected
        self.picker.layer_changed.connect(self._use_layer)
        self.palette_.chosen.connect(self.take_tool)
        self.tools.put_away.connect(lambda: self.palette_.choose(None))
        self.tools.applied.connect(self._on_applied)
        self.classes.edited.connect(self._on_classes_edited)
        self.classes.chosen.connect(self._on_class_chosen)
        self.classes.itemSelectionChanged.connect(self._on_selection)
        buttons = self.class_buttons
        buttons.add.clicked.connect(self.add_class)
        buttons.color.clicked.connect(self.classes.ask_color)
        buttons.copy.clicked.connect(lambda: self.copy_numbers())
        buttons.csv.clicked.connect(lambda: self.copy_numbers(","))
        buttons.isolate.toggled.connect(self.isolate)
        self.history.chosen.connect(self._on_step_chosen)
        self.recovery.recovered.connect(self._on_recovered)
        for part in (self.recovery, self.navigator, self.brush):
            part.told.connect(self.tell)
        viewer.dims.events.current_step.connect(self._on_slice)
        # Before the picker hears of it: a layer that goes must not be shown again.
        viewer.layers.events.removed.connect(self._on_removed)
        self.recovery.look()
        call_on_removal(self, self.shut_down)

    def showEvent(self, event: QShowEvent) -> None:
        """Begin when the panel is looked at for the first time."""
        super().showEvent(event)
        self.start()

    def start(self) -> None:
        """Begin to correct the chosen mask: its history is ours from now on."""
        if not self._started and self._open:
            self._started = True
            self._use_layer(self.picker.layer)

    # ------------------------------------------------------------------ actions

    @property
    def message(self) -> str:
        """What was said last, if it is still shown."""
        return "" if self._message.isHidden() else str(self._message.text())

    def take_tool(self, tool: Tool | str | None) -> None:
        """Take a tool; None puts the one in use away."""
        chosen = find_tool(tool) if isinstance(tool, str) else tool
        if chosen is not None and self.session is None:
            self.tell("Choose a mask first: a labels layer that can be edited.")
            self.palette_._press(None)
            return
        self.palette_._press(None if chosen is None else chosen.name)
        self.tools.show_tool(chosen)

    def undo(self) -> None:
        """Undo the last step."""
        if self.session is not None:
            self.session.binding.undo()

    def redo(self) -> None:
        """Redo the step that was undone last."""
        if self.session is not None:
            self.session.binding.redo()

    def add_class(self) -> None:
        """Add a class and choose it."""
        session = self.session
        if session is None:
            return
        classes = session.mask.classes
        value = max((info.value for info in classes), default=0) + 1
        new = LabelClass(value, f"label {value}", next_color(classes))
        session.mask.change_classes(f"Add {new.name}", (*classes, new))
        session.layer.selected_label = value

    def isolate(self, on: bool) -> None:
        """Show the chosen class only, or all again."""
        if self.session is not None:
            value = int(self.session.layer.selected_label)
            self.session.isolate(value if on else None)

    def copy_numbers(self, delimiter: str = "\t") -> str:
        """Copy the numbers of all classes as a table."""
        text = rows_as_text(self.classes.rows, delimiter)
        QApplication.clipboard().setText(text)
        return text

    def tell(self, sentence: str) -> None:
        """Show a sentence for a while."""
        set_tone(self._message, AMBER)
        self._message.setText(sentence)
        self._message.show()
        self._hush.start()

    def shut_down(self, alive: bool = True) -> None:
        """Let go of the mask: the panel goes. What autosave kept stays.

        Parameters
        ----------
        alive : bool
            Whether the widgets still live.
        """
        if not self._open:
            return
        self._open = False
        self.recovery.forget()
        self.palette_.forget()
        self.navigator.forget()
        self.tools.shut_down(alive)
        self.brush.shut_down(alive)
        if alive:
            self._hush.stop()
            self._viewer.dims.events.current_step.disconnect(self._on_slice)
            self._stop_waiting()
            self._viewer.layers.events.removed.disconnect(self._on_removed)
            self.picker.disconnect_viewer()
        self._hide_session()
        for session in list(self._sessions.values()):
            self._end_session(session)

    # ------------------------------------------------------------------ session

    def _use_layer(self, layer: Layer | None) -> None:
        """Show the session of a layer; those of other layers go on."""
        if not self._started:
            return
        self._stop_waiting()
        shown, own = self.session, self._own_session(layer)
        if shown is not None and shown is own:
            self._wait(layer)
            return
        self._hide_session()
        if layer is None:
            return
        if own is not None:
            self._show_session(own)
        elif layer.editable:
            self._begin(layer)
        self._wait(layer)

    def _own_session(self, layer: Layer | None) -> CorrectionSession | None:
        session = None if layer is None else self._sessions.get(layer.unique_id)
        return session if session is not None and session.open else None

    def session_for(self, layer: Layer) -> CorrectionSession | None:
        """Give the session of a mask; begin one, without showing it, if it can be."""
        found = self._own_session(layer) or session_of(layer)
        return found or (self._new_session(layer) if layer.editable else None)

    def _begin(self, layer: Layer) -> None:
        if session_of(layer) is not None:
            self.tell("This mask is being corrected in another Correct panel.")
            return
        session = self._new_session(layer)
        if session is not None:
            self._show_session(session)

    def _new_session(self, layer: Layer) -> CorrectionSession | None:
        self._switching = True
        try:
            image = grey_image_of(self._viewer, layer)
            session = CorrectionSession(layer, self._folder, self, image=image)
        except MedurwkvError as error:
            self.tell(str(error))
            return None
        finally:
            self._switching = False
        self._sessions[layer.unique_id] = session
        session.changed.connect(self._show)
        session.told.connect(self.tell)
        session.binding.lost.connect(lambda: self._on_lost(session))
        bind_keys(session.layer, self)
        return session

    def _show_session(self, session: CorrectionSession) -> None:
        self.session = session
        session.layer.events.selected_label.connect(self._on_label)
        self.palette_.draw_icons()
        self._show()
        self.class_buttons.use(session.layer)
        for part in (self.navigator, self.tools, self.brush):
            part.use(session)
        self._set_enabled(True)

    def _hide_session(self) -> None:
        session = self.session
        if session is None:
            return
        if self._open:
            for part in (self.tools, self.brush, self.navigator):
                part.use(None)
            self.classes.show_rows(())
            self.history.show_history(None)
            self._set_enabled(False)
        self.session = None
        session.layer.events.selected_label.disconnect(self._on_label)
        self.class_buttons.use(None, alive=self._open)

    def _end_session(self, session: CorrectionSession) -> None:
        if session is self.session:
            self._hide_session()
        self._sessions.pop(session.layer.unique_id, None)
        unbind_keys(session.layer, self)
        self._switching = True
        session.close()
        self._switching = False

    def _on_removed(self, event: Any) -> None:
        session = self._sessions.get(event.value.unique_id)
        if session is not None:
            self._end_session(session)

    def _on_lost(self, session: CorrectionSession) -> None:
        self.tell("The layer has got data of other dimensions; its history has ended.")
        shown, layer = session is self.session, session.layer
        self._end_session(session)
        if shown and layer.editable:
            QTimer.singleShot(0, lambda: self._open and self._use_layer(layer))

    def _wait(self, layer: Layer) -> None:
        self._waiting = layer
        layer.events.editable.connect(self._on_editable)

    def _on_editable(self, event: Any = None) -> None:
        layer = self._waiting
        if layer is None or self._switching:
            return
        if layer.editable and self.session is None:
            self._begin(layer)
        elif not layer.editable and self.session is not None:
            # The binding itself switches it off and on to clear napari's history.
            QTimer.singleShot(0, self._check_editable)

    def _check_editable(self) -> None:
        session = self.session
        if self._open and session is not None and not session.layer.editable:
            self._end_session(session)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.events.editable.disconnect(self._on_editable)
            self._waiting = None

    def _on_recovered(self, kept: Snapshot, entry: Entry) -> None:
        self._started = True
        layer = recovered_layer(kept)
        self._viewer.add_layer(layer)
        self.picker.choose(layer)
        self._use_layer(self.picker.layer)
        session = self._own_session(layer)
        if session is None:
            return
        session.restore(kept)
        # The old journal may go only once the new one is on the disk.
        self._entry = entry
        session.autosave.saved.connect(self._discard_recovered)
        session.autosave.save()

    def _discard_recovered(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:  # once: its folder may belong to others later
            entry.discard()

    # ------------------------------------------------------------------ showing

    def _show(self) -> None:
        session = self.session
        if session is None or not self._open:
            return
        self.classes.show_rows(class_rows(session))
        self.history.show_history(session.mask.history)
        self.navigator.show_state()
        self._on_label()

    def _on_label(self, event: Any = None) -> None:
        if self.session is not None:
            value = int(self.session.layer.selected_label)
            if value not in self.classes.selected:
                self.classes.select_value(value)

    def _on_slice(self, event: Any = None) -> None:
        self.navigator.show_state()

    def _on_applied(self, edit: Edit) -> None:
        self._show()

    def _on_selection(self) -> None:
        self.tools.on_classes_chosen()

    def _on_classes_edited(self, name: str, classes: tuple[LabelClass, ...]) -> None:
        if self.session is not None:
            self.session.mask.change_classes(name, classes)

    def _on_class_chosen(self, value: int) -> None:
        session = self.session
        if session is None:
            return
        session.layer.selected_label = value
        if self.class_buttons.isolate.isChecked():
            session.isolate(value)
        self.navigator.go_to_class(value)

    def _on_step_chosen(self, position: int) -> None:
        session = self.session
        if session is not None and not session.binding.busy:
            session.mask.go_to(position)

    def _set_enabled(self, on: bool) -> None:
        for part in (self.palette_, self.classes, self.history, self.class_buttons):
            part.setEnabled(on)

    def lock_chosen(self) -> None:
        """Lock the chosen class, or unlock it."""
        session = self.session
        if session is None:
            return
        before = session.mask.classes
        classes = lock_or_unlock(before, int(session.layer.selected_label))
        if classes != before:
            session.mask.change_classes("Lock or unlock", classes)

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(8, 8, 8, 4)
        column.setSpacing(6)
        parts = (
            self.recovery,
            heading("Mask"),
            self.picker,
            self.palette_,
            self.tools,
            self._message,
            Foldout("Threshold brush", self.brush),
            heading("Classes"),
            self.classes,
            self.class_buttons,
            self.navigator,
            Foldout("History", self.history),
        )
        for part in parts:
            column.addWidget(part)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolled(content))
        self.setMinimumWidth(300)
        self._message.hide()
        self._set_enabled(False)
