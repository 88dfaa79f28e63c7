"""Icons of the correction tools: each shows what the tool does to a small toy mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtGui import QIcon, QImage, QPixmap

from napari_medurwkv.correction.catalogue import TOOLS
from napari_medurwkv.correction.classes import LabelClass
from napari_medurwkv.correction.mask import EditableMask
from napari_medurwkv.correction.scope import Scope
from napari_medurwkv.correction.tools import Request, Tool, work_out
from napari_medurwkv.errors import MedurwkvError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["icon_pixels", "make_icon", "make_pixels"]

_GREY, _SECOND = (150, 150, 150), (105, 105, 125)
_GAINED, _LOST, _CHANGED = (31, 155, 255), (255, 90, 31), (255, 225, 77)
_EDGE = 26


def make_pixels() -> dict[str, NDArray[np.uint8]]:
    """Draw the icons of all tools; takes some time, so it belongs into a thread."""
    return {tool.name: icon_pixels(tool) for tool in TOOLS}


def make_icon(pixels: NDArray[np.uint8]) -> QIcon:
    """Make an icon of (Y, X, 4) pixels."""
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels)
    image = QImage(
        data.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888
    )
    return QIcon(QPixmap.fromImage(image.copy()))


def icon_pixels(tool: Tool) -> NDArray[np.uint8]:
    """Run a tool on the toy and draw what stays, comes and goes."""
    toy = _stack() if not tool.flat else _toy()
    classes = (LabelClass(1, "", "#000000"), LabelClass(2, "", "#000000"))
    mask = EditableMask(toy.copy(), (1.0,) * toy.ndim, classes)
    scribbles = np.full(toy.shape, -1, np.int16)
    scribbles[..., 8:12, 8] = 1
    scribbles[..., 0, :] = 0
    if tool.name == "fix_scribbles":
        # Strokes over what is wrong: a hole and a false island.
        scribbles[..., 9:12, 9:12] = 1
        scribbles[..., 20:23, 19:23] = 0
    image = (toy == 1) * 100.0
    try:
        edit = work_out(mask, _request(tool, toy, image, scribbles)).edit
    except MedurwkvError:
        return _draw(toy, toy)
    after = toy.copy()
    for patch in edit.patches:
        patch.write(after, undo=False)
    if toy.ndim == 3:  # seen from the side: slices lie on top of each other
        middle = toy.shape[1] // 2
        toy, after = toy[:, middle], after[:, middle]
    return _draw(toy, after)


def _toy() -> NDArray[np.uint8]:
    y, x = np.ogrid[:_EDGE, :_EDGE]
    toy = np.zeros((_EDGE, _EDGE), np.uint8)
    toy[(y - 10) ** 2 + (x - 10) ** 2 <= 64] = 1
    toy[(y - 12) ** 2 + (x - 18) ** 2 <= 20] = 1
    toy[9:12, 9:12] = 0
    toy[21:25, 3:12] = 2
    toy[20:23, 19:23] = 1
    toy[2, 14:20] = 1
    return toy


def _stack() -> NDArray[np.uint8]:
    """Return two bodies of which every sixth slice is drawn."""
    z, y, x = np.ogrid[:_EDGE, :9, :_EDGE]
    full = np.zeros((_EDGE, 9, _EDGE), np.uint8)
    flat = ((y - 4) / 4.5) ** 2
    full[((z - 12) / 13) ** 2 + flat + ((x - 9) / 9) ** 2 <= 1] = 1
    full[((z - 12) / 10) ** 2 + flat + ((x - 21) / 4) ** 2 <= 1] = 2
    drawn = np.zeros_like(full)
    drawn[::6] = full[::6]
    return drawn


def _request(
    tool: Tool, toy: NDArray[Any], image: NDArray[Any], scribbles: NDArray[Any]
) -> Request:
    path: tuple[tuple[float, ...], ...] = ((0, 14), (25, 14))
    if "polygon" in tool.needs:
        path = ((0, 0), (0, 12), (25, 8), (25, 0))
    other = np.roll(toy, (4, 5), (0, 1))
    wide = {"mm": 2.0} if tool.name in ("grow", "shrink", "hollow", "smooth") else {}
    return Request(
        tool,
        Scope.volume(toy.shape),
        values={**wide, "smallest_mm": 0.5},
        classes=(2,) if tool.name in ("delete", "merge") else None,
        fresh=3,
        point=(10, 5),
        path=path,
        image=image,
        scribbles=scribbles,
        other=other,
    )


def _draw(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.uint8]:
    pixels = np.zeros((*before.shape, 4), np.uint8)
    pixels[before == 1, :3] = _GREY
    pixels[before == 2, :3] = _SECOND
    pixels[(before == 0) & (after != 0), :3] = _GAINED
    pixels[(before != 0) & (after == 0), :3] = _LOST
    pixels[(before != 0) & (after != 0) & (before != after), :3] = _CHANGED
    pixels[(before != 0) | (after != 0), 3] = 255
    return pixels
