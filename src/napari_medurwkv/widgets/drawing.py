"""What tools want drawn: a picked voxel, a line, a polygon, strokes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, Signal

from napari_medurwkv.widgets.helper_layers import add_helper, remove_helper
from napari_medurwkv.widgets.result_layer import spatial_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medurwkv.widgets.correction_session import CorrectionSession

__all__ = ["Drawing"]

_GREY = "#8d8d8d"


class _Strokes:
    """Strokes of a helper layer as tools take them, read by boxes.

    On the layer, 1 stands for background, and every class for itself plus one.
    """

    def __init__(self, drawn: NDArray[Any]) -> None:
        self._drawn = drawn
        self.shape = drawn.shape

    def __getitem__(self, box: Any) -> NDArray[np.int32]:
        strokes: NDArray[np.int32] = self._drawn[box].astype(np.int32) - 1
        return strokes


class Drawing(QObject):
    """Collects one drawing at a time over a mask.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is drawn.
    """

    changed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._session: CorrectionSession | None = None
        self._helper: Any = None
        self._mode = "pan_zoom"
        self._stroked = False
        self.point: tuple[int, ...] | None = None

    @property
    def helper(self) -> Any:
        """The layer that is drawn on; None while none is."""
        return self._helper

    @property
    def path(self) -> tuple[tuple[float, ...], ...] | None:
        """Corners of the last line or polygon, as indices into the mask."""
        if not isinstance(self._helper, Shapes) or not self._helper.nshapes:
            return None
        corners = np.asarray(self._helper.data[-1], float)
        return tuple(tuple(float(c) for c in corner) for corner in corners)

    @property
    def scribbles(self) -> _Strokes | None:
        """Strokes: -1 where nothing is drawn, else the class; None without any."""
        if not isinstance(self._helper, Labels):
            return None
        return _Strokes(self._helper.data) if self._stroked else None

    def pick(self, session: CorrectionSession) -> None:
        """Let the next click on the mask pick a voxel."""
        self.stop()
        self._session = session
        self._mode = session.layer.mode
        session.layer.mode = "pan_zoom"
        session.layer.mouse_drag_callbacks.append(self._on_click)

    def draw(self, session: CorrectionSession, kind: str) -> None:
        """Let a line or a polygon be drawn.

        Parameters
        ----------
        session : CorrectionSession
            Over whose mask.
        kind : {"line", "polygon"}
            What.
        """
        self.stop()
        self._session = session
        layer = Shapes(
            ndim=session.layer.ndim,
            name="Line" if kind == "line" else "Polygon",
            face_color="transparent",
            edge_color="#ffe14d",
            edge_width=1,
            **spatial_state(session.layer),
        )
        self._helper = layer
        add_helper(self._viewer, layer, None)
        layer.mode = "add_polyline" if kind == "line" else "add_polygon"
        layer.events.data.connect(self._on_drawn)

    def scribble(self, session: CorrectionSession) -> None:
        """Let strokes be drawn, of background and of the classes."""
        self.stop()
        self._session = session
        classes = session.mask.classes
        colors: dict[int | None, Any] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 1: _GREY}
        colors.update({info.value + 1: info.color for info in classes})
        highest = max((info.value for info in classes), default=1) + 1
        dtype = np.uint8 if highest <= 255 else np.uint16
        layer = Labels(
            np.zeros(session.mask.array.shape, dtype),
            name="Strokes",
            colormap=DirectLabelColormap(color_dict=colors),
            features={
                "index": [0, 1, *(info.value + 1 for info in classes)],
                "name": ["nothing", "background", *(info.name for info in classes)],
            },
            **spatial_state(session.layer),
        )
        layer.brush_size = 5
        layer.selected_label = session.layer.selected_label + 1
        self._helper = layer
        add_helper(self._viewer, layer, None)
        layer.mode = "paint"
        layer.events.paint.connect(self._on_drawn)

    def stop(self) -> None:
        """Take away what was drawn."""
        session, self._session = self._session, None
        helper, self._helper = self._helper, None
        self.point = None
        self._stroked = False
        if session is not None and self._on_click in session.layer.mouse_drag_callbacks:
            session.layer.mouse_drag_callbacks.remove(self._on_click)
            if session.open:
                session.layer.mode = self._mode
        if helper is not None:
            remove_helper(self._viewer, helper)
            if session is not None and session.open:
                self._activate(session.layer)

    def _activate(self, layer: Any) -> None:
        for present in self._viewer.layers:
            if present.unique_id == layer.unique_id:
                self._viewer.layers.selection.active = present

    def _on_click(self, layer: Any, event: Any) -> Iterator[None]:
        yield
        if event.type == "mouse_move":
            return  # dragged: the view was moved, nothing was picked
        session = self._session
        if session is None:
            return
        where = session.layer.world_to_data(event.position[-session.layer.ndim :])
        index = tuple(round(float(c)) for c in where)
        shape = session.mask.array.shape
        if all(0 <= i < n for i, n in zip(index, shape, strict=True)):
            self.set_point(index)

    def set_point(self, index: tuple[int, ...]) -> None:
        """Pick a voxel."""
        self.point = index
        self.changed.emit()

    def _on_drawn(self, event: Any = None) -> None:
        action = getattr(event, "action", None)
        if action is not None and str(getattr(action, "value", action)) in (
            "adding",
            "changing",
            "removing",
        ):
            return
        self._stroked = isinstance(self._helper, Labels)
        self.changed.emit()
