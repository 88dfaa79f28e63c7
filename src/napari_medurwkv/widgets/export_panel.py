"""The Export panel: a mask, a file, and the grid it will be written on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.provenance import RESEARCH_USE
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.geometry_badge import GeometryBadge
from napari_medurwkv.widgets.layer_image import LayerSnapshot, take_snapshot
from napari_medurwkv.widgets.layer_picker import LayerPicker
from napari_medurwkv.widgets.look import AMBER, RED, WrappedLabel, heading, set_tone
from napari_medurwkv.widgets.mask_export import (
    Mask,
    Written,
    check_target,
    find_mask,
    suggest_target,
    write_mask,
)
from napari_medurwkv.widgets.removal import call_on_removal

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["ExportPanel"]

_FILTER = "Masks (*.nii.gz *.nii *.png *.tif *.tiff)"
_SETTLE_MS = 200
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
        self.target = QLineEdit()
        self.target.setPlaceholderText("file to write")
        self._browse = QPushButton("Browse…")
        self._browse.setToolTip("Choose folder and name")
        self.button = QPushButton("Save mask")
        self.button.setMinimumHeight(36)
        self._status = WrappedLabel()
        self._lay_out()
        self.picker.layer_changed.connect(self._watch)
        self.target.textChanged.connect(self._update_ready)
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

    def save(self) -> None:
        """Write the chosen mask to the target; asks before it replaces a file."""
        mask = self._mask
        if mask is None or self.saving or self._watched is None:
            return
        path = Path(self.target.text().strip()).expanduser()
        try:
            check_target(path)
        except MedurwkvError as error:
            self._say(str(error), RED)
            return
        overwrite = path.exists()
        if overwrite and not self._may_replace(path):
            return
        # The voxels of now: the layer may have been painted on since it was looked at.
        mask = Mask(take_snapshot(self._watched), mask.geometry, mask.origin)
        self._say("writing…", None)
        self._writing = in_background(
            lambda: write_mask(mask, path, overwrite=overwrite), self._tell
        )
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
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 4)
        column.setSpacing(6)
        column.addWidget(heading("Mask"))
        column.addWidget(self.picker)
        column.addWidget(self.badge)
        column.addWidget(self._origin)
        column.addWidget(heading("File"))
        column.addLayout(row)
        column.addWidget(self.button)
        column.addWidget(self._status)
        column.addStretch(1)
        column.addWidget(WrappedLabel(RESEARCH_USE))
        self.setMinimumWidth(300)
        self._status.hide()

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
            self._update_ready()
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
            if isinstance(layer, Image) and layer.ndim == ndim
        ]

    def _learn(self, outcome: Outcome[Mask]) -> None:
        self._looking = None
        if outcome.value is None:
            self.badge.show_problem(str(outcome.error))
            return
        mask = self._mask = outcome.value
        self.badge.show_geometry(mask.geometry)
        self._origin.setText(f"Written on the grid {mask.origin}.")
        # A name that the user has typed stays.
        if self.target.text() in ("", self._suggested):
            self._suggested = str(suggest_target(mask, Path.home()))
            self.target.setText(self._suggested)
            self.target.setToolTip(self._suggested)
        self._update_ready()

    def _update_ready(self, *_: Any) -> None:
        named = bool(self.target.text().strip())
        self.button.setEnabled(self._mask is not None and named and not self.saving)

    def _ask_target(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self,
            "Save the mask",
            self.target.text(),
            _FILTER,
            # Replacing is asked about once, when it is about to happen.
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if path:
            self.target.setText(path)

    def _may_replace(self, path: Path) -> bool:
        answer = QMessageBox.question(
            self, "Replace the file?", f"{path} exists. Replace it, and its record?"
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _tell(self, outcome: Outcome[Written]) -> None:
        self._writing = None
        self._update_ready()
        if outcome.value is None:
            self._say(str(outcome.error), RED)
            return
        written = outcome.value
        text = f"Saved {written.path}"
        if written.record is None:
            text += "\nNo record: this mask does not come from a model."
        else:
            text += f"\nRecord: {written.record.name}, {_edits(written.changed)}."
        assumed = self._mask is not None and self._mask.geometry.assumed
        if assumed:
            text += "\nOrientation or spacing are assumed: check them where it matters."
        self._say(text, AMBER if assumed else None)

    def _say(self, text: str, color: str | None) -> None:
        self._status.setText(text)
        self._status.setVisible(bool(text))
        set_tone(self._status, color)


def _edits(changed: int | None) -> str:
    if changed is None:
        return "edits not known"
    if changed == 0:
        return "as the model gave it"
    return f"{changed} voxel{'s' if changed > 1 else ''} changed by hand"
