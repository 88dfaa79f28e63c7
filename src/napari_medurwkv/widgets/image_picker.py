"""Choose an image, and see how it lies in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.errors import (
    ApproximateGeometryError,
    MedurwkvError,
    SeriesChoiceError,
)
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.widgets.axes_choice import AxesChoice
from napari_medurwkv.widgets.background import BackgroundTask, Outcome, in_background
from napari_medurwkv.widgets.geometry_badge import GeometryBadge
from napari_medurwkv.widgets.layer_image import (
    LayerImage,
    LayerSnapshot,
    find_geometry,
    take_snapshot,
)
from napari_medurwkv.widgets.layer_picker import LayerPicker
from napari_medurwkv.widgets.look import RED, WrappedLabel, set_tone
from napari_medurwkv.widgets.open_questions import choose_series, take_approximate

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_medurwkv.io.foreign import LayerGeometry
    from napari_medurwkv.widgets.reader import LayerData

__all__ = ["ImagePicker"]

# Changes of a layer that may change its geometry.
_WATCHED = ("data", "scale", "rotate", "shear", "affine", "units")
_SETTLE_MS = 50


class ImagePicker(QWidget):
    """A combo box of image layers over the badge of the chosen one.

    The geometry is found in a thread, because that may read the layer's file; until
    then there is no `picture`.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose images are listed.
    """

    picture_changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._snapshot: LayerSnapshot | None = None
        self._geometry: LayerGeometry | None = None
        self._problem = ""
        self._task: BackgroundTask | None = None
        self._opening: BackgroundTask | None = None
        self._watched: Layer | None = None
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._inspect)
        self._picker = LayerPicker(viewer, Image, "open an image first")
        self._badge = GeometryBadge()
        self.axes = AxesChoice()
        self._notes = WrappedLabel()
        self._notes.hide()
        self._frame_line = WrappedLabel()
        self._frame_line.hide()
        self._open_error = WrappedLabel()
        set_tone(self._open_error, RED)
        self._open_error.hide()
        self._open = QPushButton("Open…")
        self._open.setToolTip("Open an image file or a DICOM folder, with its geometry")
        menu = QMenu(self._open)
        menu.addAction("File…", self._ask_file)
        menu.addAction("DICOM folder…", self._ask_folder)
        self._open.setMenu(menu)
        row = QHBoxLayout()
        row.addWidget(self._picker, 1)
        row.addWidget(self._open)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self._badge)
        layout.addWidget(self.axes)
        layout.addWidget(self._frame_line)
        layout.addWidget(self._notes)
        layout.addWidget(self._open_error)
        self._picker.layer_changed.connect(self._watch)
        self.axes.changed.connect(self._inspect)
        viewer.dims.events.current_step.connect(self._show_frame)
        self._watch(self._picker.layer)

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        return self._picker.layer

    @property
    def badge(self) -> GeometryBadge:
        """What is said of the geometry."""
        return self._badge

    @property
    def open_error(self) -> str:
        """Why the last file could not be opened."""
        return str(self._open_error.text())

    @property
    def problem(self) -> str:
        """Why the chosen layer cannot be segmented; "" if it can, or is not read."""
        return self._problem

    @property
    def dimensions(self) -> int | None:
        """Spatial dimensions of the chosen image."""
        return None if self._snapshot is None else len(self._snapshot.shape)

    @property
    def frame(self) -> int | None:
        """Which frame of a series the viewer shows."""
        layer, snapshot = self.layer, self._snapshot
        if layer is None or snapshot is None or not snapshot.frames:
            return None
        point = self._viewer.dims.point[-layer.ndim :]
        time = snapshot.order.axis("T") or 0
        index = round(float(layer.world_to_data(point)[time]))
        return min(max(index, 0), snapshot.frames - 1)

    @property
    def frame_text(self) -> str:
        """What is said of the frame; "" for a single image."""
        return str(self._frame_line.text())

    @property
    def picture(self) -> LayerImage | None:
        """The chosen image with its geometry; None until that is found."""
        if self._snapshot is None or self._geometry is None:
            return None
        return LayerImage(self._snapshot, self._geometry, self.frame)

    def choose(self, layer: Layer) -> None:
        """Choose an image layer."""
        self._picker.choose(layer)

    def open_file(
        self,
        path: str,
        series: tuple[int | None, ...] = (None,),
        approximate: bool = False,
    ) -> None:
        """Read an image file or folder in a thread and add its layers.

        Parameters
        ----------
        path : str
            The file, or a folder of DICOM files.
        series : tuple of int or None
            Which images of the folder.
        approximate : bool
            Whether slices on no regular grid may be loaded.
        """
        from napari_medurwkv.widgets.reader import read_layers

        def read() -> list[LayerData]:
            return [
                layer
                for number in series
                for layer in read_layers(path, series=number, approximate=approximate)
            ]

        self._open_error.hide()
        self._open.setEnabled(False)
        self._open.setText("Reading…")
        self._opening = in_background(
            read, lambda outcome: self._add_opened(outcome, path, series)
        )

    def abandon(self) -> None:
        """Forget about readings under way."""
        for task in (self._task, self._opening):
            if task is not None:
                task.abandon()

    def disconnect_viewer(self) -> None:
        """Stop listening and reading; call it before the widget goes."""
        self.abandon()
        self._settle.stop()
        self._forget()
        self._viewer.dims.events.current_step.disconnect(self._show_frame)
        self._picker.disconnect_viewer()

    def _watch(self, layer: Layer | None) -> None:
        self._forget()
        self._watched = layer
        if layer is not None:
            for name in _WATCHED:
                getattr(layer.events, name).connect(self._change)
        self._inspect()

    def _forget(self) -> None:
        if self._task is not None:
            self._task.abandon()
            self._task = None
        if self._watched is not None:
            for name in _WATCHED:
                getattr(self._watched.events, name).disconnect(self._change)
            self._watched = None

    def _change(self, event: Any = None) -> None:
        # A transform comes as several events; what is known is void from the first on.
        self._geometry = None
        self._settle.start()
        self.picture_changed.emit()

    def _inspect(self) -> None:
        layer = self._watched
        self._snapshot = self._geometry = None
        self._problem = ""
        self._notes.hide()
        if self._task is not None:
            self._task.abandon()
            self._task = None
        if layer is None:
            self.axes.show_layer(None)
            self._badge.clear()
            self.picture_changed.emit()
            return
        try:
            self.axes.show_layer(layer)
            snapshot = take_snapshot(layer, self.axes.order, self.axes.channels)
        except MedurwkvError as error:
            self._refuse(error)
            return
        self._snapshot = snapshot
        self._show_frame()
        self._badge.clear("reading the geometry…")
        self._task = in_background(lambda: find_geometry(snapshot), self._learn)
        self.picture_changed.emit()

    def _learn(self, outcome: Outcome[LayerGeometry]) -> None:
        self._task = None
        if outcome.value is None:
            self._refuse(outcome.error)
            return
        self._geometry = outcome.value
        snapshot, found = self._snapshot, outcome.value
        ours = snapshot is not None and METADATA_KEY in snapshot.state["metadata"]
        # "assumed" is what the badge's mark says already.
        stated = found.geometry.kind != "none"
        origin = found.origin if stated and not ours else ""
        self._badge.show_geometry(found.export_geometry, origin)
        self._notes.setText("\n".join(outcome.value.notes))
        self._notes.setVisible(bool(outcome.value.notes))
        self.picture_changed.emit()

    def _show_frame(self, event: Any = None) -> None:
        frame, snapshot = self.frame, self._snapshot
        text = ""
        if snapshot is not None and self.axes.all_frames:
            text = f"All {snapshot.frames} frames, each with its own intensity limits."
        elif frame is not None and snapshot is not None:
            text = f"Frame {frame + 1} of {snapshot.frames}: the one shown."
        self._frame_line.setText(text)
        self._frame_line.setVisible(bool(text))

    def _refuse(self, error: Exception | None) -> None:
        self._problem = str(error)
        self._badge.show_problem(self._problem)
        self.picture_changed.emit()

    def _ask_file(self) -> None:
        from napari_medurwkv.io import supported_suffixes

        endings = " ".join(f"*{suffix}" for suffix in supported_suffixes())
        path, _ = QFileDialog.getOpenFileName(
            self, "Open an image", "", f"Images ({endings})"
        )
        if path:
            self.open_file(path)

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a DICOM folder")
        if path:
            self.open_file(path)

    def _add_opened(
        self,
        outcome: Outcome[list[LayerData]],
        path: str,
        series: tuple[int | None, ...],
    ) -> None:
        self._open.setEnabled(True)
        self._open.setText("Open…")
        if outcome.value is None:
            self._decide(outcome.error, path, series)
            return
        for data, options, kind in outcome.value:
            if kind == "labels":
                self._viewer.add_labels(data, **options)
            else:
                self.choose(self._viewer.add_image(data, **options))

    def _decide(
        self, error: Exception | None, path: str, series: tuple[int | None, ...]
    ) -> None:
        """Ask what only the user can decide; say anything else."""
        if isinstance(error, SeriesChoiceError):
            chosen = choose_series(error, self)
            if chosen:
                self.open_file(path, chosen)
            return
        if isinstance(error, ApproximateGeometryError):
            if take_approximate(error, self):
                self.open_file(path, series, approximate=True)
            return
        self._open_error.setText(str(error))
        self._open_error.show()
