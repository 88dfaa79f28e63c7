"""The Export panel: a mask, its grid, formats, and the files that will be written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.export import ExportOptions, export_mask
from napari_medurwkv.provenance import RESEARCH_USE
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.correction_session import session_of
from napari_medurwkv.widgets.export_plan import (
    ExportPlan,
    edits_text,
    listed,
    make_plan,
    sized,
)
from napari_medurwkv.widgets.format_list import FormatList
from napari_medurwkv.widgets.geometry_badge import GeometryBadge
from napari_medurwkv.widgets.helper_layers import is_helper
from napari_medurwkv.widgets.layer_image import LayerSnapshot, take_snapshot
from napari_medurwkv.widgets.layer_picker import LayerPicker
from napari_medurwkv.widgets.look import (
    AMBER,
    RED,
    WrappedLabel,
    heading,
    let_shrink,
    set_tone,
)
from napari_medurwkv.widgets.mask_export import (
    Mask,
    export_of,
    find_mask,
    suggest_stem,
    usual_format,
)
from napari_medurwkv.widgets.removal import call_on_removal

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from napari_medurwkv.export import Exported

__all__ = ["ExportPanel"]

_MESHES = {"stl", "ply", "obj", "glb"}
_SETTLE_MS = 200
_MOST_NAMED = 8
# Changes of a labels layer after which its file and its grid are looked at again.
_WATCHED = ("name", "data", "scale", "translate", "rotate", "shear", "affine")


class ExportPanel(QWidget):
    """Save a labels layer on its image's grid, with a record of how it was made.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose labels layers are listed.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._watched: Layer | None = None
        self._mask: Mask | None = None
        self._looking: BackgroundTask | None = None
        self._writing: BackgroundTask | None = None
        self._suggested = ""
        self._open = True
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._look)
        self.picker = LayerPicker(viewer, Labels, "no labels layer yet")
        self.badge = GeometryBadge()
        self._origin = WrappedLabel()
        self.spacing = QLineEdit()
        self._size_hint = WrappedLabel(
            "The image states no voxel size. Give it in mm, slices, rows and columns; "
            "left empty, sizes are written in pixels."
        )
        self.formats = FormatList()
        self.deidentify = QCheckBox("Leave the patient out of DICOM SEG")
        self.deidentify.setToolTip(
            "Names, numbers, dates and institution are removed; UIDs stay, because "
            "without them the mask belongs to no image."
        )
        self.labelmap = QCheckBox("LABELMAP in place of BINARY")
        self.labelmap.setToolTip("Smaller, but few programs read it yet.")
        self.space = QComboBox()
        self.space.addItems(["Surfaces in LPS (3D Slicer, DICOM)", "Surfaces in RAS"])
        self.target = QLineEdit()
        self.target.setPlaceholderText("folder and name, without an ending")
        self._browse = QPushButton("Browse…")
        self._browse.setToolTip("Choose folder and name")
        self._files = WrappedLabel()
        self.button = QPushButton("Export")
        self.button.setMinimumHeight(36)
        self._status = WrappedLabel()
        self._lay_out()
        self.picker.layer_changed.connect(self._watch)
        self.target.textChanged.connect(self._update_plan)
        self.spacing.textChanged.connect(self._update_plan)
        self.formats.changed.connect(self._update_plan)
        self._browse.clicked.connect(self._ask_target)
        self.button.clicked.connect(self.save)
        self._watch(self.picker.layer)
        call_on_removal(self, self.shut_down)

    @property
    def status(self) -> str:
        """What came of the last saving."""
        return str(self._status.text())

    @property
    def ready(self) -> bool:
        """Whether the button would save."""
        return bool(self.button.isEnabled())

    @property
    def saving(self) -> bool:
        """Whether a mask is being written."""
        return self._writing is not None

    def choose(self, layer: Layer) -> None:
        """Choose a labels layer."""
        self.picker.choose(layer)

    @property
    def planned(self) -> tuple[Path, ...]:
        """Files and folders that the button would write."""
        plan = self._plan()
        return plan.paths if isinstance(plan, ExportPlan) else ()

    def save(self) -> None:
        """Write the chosen mask in the ticked formats; asks before it replaces."""
        mask, layer = self._mask, self._watched
        if mask is None or self.saving or layer is None:
            return
        plan = self._plan()
        if isinstance(plan, str):
            self._say(plan, RED)
            return
        existing = plan.existing()
        if existing and not self._may_replace(existing):
            return
        session = session_of(layer)
        if session is not None:
            session.write_summary()
        step = session.mask.version if session is not None else None
        # The voxels of now: the layer may have been painted on since it was looked at.
        geometry = sized(mask.geometry, self.spacing.text())
        mask = Mask(take_snapshot(layer), geometry, mask.origin, mask.image)
        overwrite = bool(existing)

        def write() -> tuple[Exported, int | None]:
            export = export_of(mask)
            done = export_mask(
                export,
                plan.keys,
                plan.stem,
                options=plan.options,
                overwrite=overwrite,
                endings=plan.endings,
            )
            return done, None if export.record is None else export.changed

        self._say("writing…", None)
        keeps = plan.keeps_voxels

        def told(outcome: Outcome[tuple[Exported, int | None]]) -> None:
            self._tell(outcome)
            # What was changed meanwhile is in no file yet.
            if (
                keeps
                and outcome.value is not None
                and session is not None
                and session.open
                and session.mask.version == step
            ):
                session.saved()

        self._writing = in_background(write, told)
        self._update_ready()

    def shut_down(self, alive: bool = True) -> None:
        """Stop listening: the panel goes. A file being written is finished.

        Parameters
        ----------
        alive : bool
            Whether the widgets still live.
        """
        if not self._open:
            return
        self._open = False
        for task in (self._looking, self._writing):
            if task is not None:
                task.abandon()
        if alive:
            self._settle.stop()
            self._forget()
            self.picker.disconnect_viewer()
            self.setEnabled(False)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.target, 1)
        row.addWidget(self._browse)
        let_shrink(self.space)
        self.spacing.setPlaceholderText("2, 0.5, 0.5 mm")
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 4)
        column.setSpacing(6)
        column.addWidget(heading("Mask"))
        for widget in (self.picker, self.badge, self._origin):
            column.addWidget(widget)
        column.addWidget(self._size_hint)
        column.addWidget(self.spacing)
        column.addWidget(heading("Formats"))
        for widget in (self.formats, self.deidentify, self.labelmap, self.space):
            column.addWidget(widget)
        column.addWidget(heading("Files"))
        column.addLayout(row)
        for widget in (self._files, self.button, self._status):
            column.addWidget(widget)
        column.addStretch(1)
        column.addWidget(WrappedLabel(RESEARCH_USE))
        self.setMinimumWidth(300)
        optional = (self.spacing, self.deidentify, self.labelmap, self.space)
        for hidden in (self._status, self._size_hint, *optional):
            hidden.hide()

    def _watch(self, layer: Layer | None) -> None:
        self._forget()
        self._watched = layer
        self._say("", None)
        if layer is not None:
            for name in _WATCHED:
                getattr(layer.events, name).connect(self._change)
        self._look()

    def _forget(self) -> None:
        if self._looking is not None:
            self._looking.abandon()
            self._looking = None
        if self._watched is not None:
            for name in _WATCHED:
                getattr(self._watched.events, name).disconnect(self._change)
            self._watched = None

    def _change(self, event: Any = None) -> None:
        self._settle.start()

    def _look(self) -> None:
        layer, self._mask = self._watched, None
        self._origin.setText("")
        if layer is None:
            self.badge.clear()
            self._update_plan()
            return
        try:
            snapshot = take_snapshot(layer)
        except MedurwkvError as error:
            self.badge.show_problem(str(error))
            self._update_ready()
            return
        images = self._images(snapshot.ndim)
        if self._looking is not None:
            self._looking.abandon()
        self.badge.clear("reading the geometry…")
        self._looking = in_background(lambda: find_mask(snapshot, images), self._learn)
        self._update_ready()

    def _images(self, ndim: int) -> list[LayerSnapshot]:
        return [
            take_snapshot(layer)
            for layer in reversed(self._viewer.layers)
            if isinstance(layer, Image) and layer.ndim == ndim and not is_helper(layer)
        ]

    def _learn(self, outcome: Outcome[Mask]) -> None:
        self._looking = None
        if outcome.value is None:
            self.badge.show_problem(str(outcome.error))
            return
        mask = self._mask = outcome.value
        self.badge.show_geometry(mask.geometry)
        grid = f"grid {mask.origin}" if mask.of_image else "layer's own grid"
        self._origin.setText(f"Written on the {grid}.")
        unknown = mask.geometry.kind == "none"
        self._size_hint.setVisible(unknown)
        self.spacing.setVisible(unknown)
        if not unknown:
            self.spacing.clear()
        self.formats.offer(mask.geometry, usual_format(mask))
        # A name that the user has typed stays.
        if self.target.text() in ("", self._suggested):
            self._suggested = str(suggest_stem(mask, Path.home()))
            self.target.setText(self._suggested)
            self.target.setToolTip(self._suggested)
        self._update_plan()

    def _plan(self) -> ExportPlan | str:
        """Return what would be written, or why nothing can be."""
        if self._mask is None:
            return ""
        options = ExportOptions(
            space="RAS" if self.space.currentIndex() else "LPS",
            deidentify=self.deidentify.isChecked(),
            labelmap=self.labelmap.isChecked(),
        )
        try:
            geometry = sized(self._mask.geometry, self.spacing.text())
            return make_plan(
                self.target.text(),
                self.formats.chosen,
                geometry,
                options,
                touched=self.formats.touched,
            )
        except MedurwkvError as error:
            return str(error)

    def _update_plan(self, *_: Any) -> None:
        """Say what would be written and where; names only, so it may be often."""
        plan = self._plan()
        keys = set(plan.keys) if isinstance(plan, ExportPlan) else set()
        for box in (self.deidentify, self.labelmap):
            box.setVisible("dicom-seg" in keys)
        self.space.setVisible(bool(keys & _MESHES))
        self._files.setText(plan if isinstance(plan, str) else listed(plan))
        self._files.setVisible(bool(self._files.text()))
        self._update_ready()

    def _update_ready(self, *_: Any) -> None:
        ready = isinstance(self._plan(), ExportPlan) and not self.saving
        self.button.setEnabled(ready)

    def _ask_target(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self,
            "Folder and name",
            self.target.text(),
            # Replacing is asked about once, when it is about to happen.
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if path:
            self.target.setText(path)

    def _may_replace(self, existing: list[Path]) -> bool:
        names = "\n".join(path.name for path in existing[:_MOST_NAMED])
        more = len(existing) - _MOST_NAMED
        if more > 0:
            names += f"\nand {more} more"
        answer = QMessageBox.question(
            self,
            "Replace what is there?",
            f"In {existing[0].parent} these exist:\n{names}\n\nReplace them?",
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _tell(self, outcome: Outcome[tuple[Exported, int | None]]) -> None:
        self._writing = None
        self._update_plan()
        if outcome.value is None:
            self._say(str(outcome.error), RED)
            return
        done, changed = outcome.value
        names = [path.name for path in done.paths]
        lines = [f"Saved {done.paths[0]}"]
        if len(names) > 2:
            lines.append(f"and {', '.join(names[1:-1])}")
        lines.append(f"Record: {names[-1]}, {edits_text(changed)}.")
        lines += done.notes
        self._say("\n".join(lines), AMBER if done.notes else None)

    def _say(self, text: str, color: str | None) -> None:
        self._status.setText(text)
        self._status.setVisible(bool(text))
        set_tone(self._status, color)
