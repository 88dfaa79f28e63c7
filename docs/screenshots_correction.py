"""Make the pictures of docs/images/correction: each tool before, previewed and after.

    xvfb-run -a -s "-screen 0 1280x1000x24" python docs/screenshots_correction.py

It opens the bundled brain with its mask, spoils the mask a little, and uses the real
panel. Names of tools on the command line limit it to those.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp()) / "s.yaml"))

import numpy as np

FOLDER = Path(__file__).resolve().parent / "images" / "correction"
SLICE = 44
PLACE = {"scale": (2, 2, 2), "units": "mm"}
LINE = [[SLICE, 1, 42], [SLICE, 96, 42]]
POLYGON = [[SLICE, 10, 10], [SLICE, 10, 45], [SLICE, 45, 40], [SLICE, 60, 10]]
VALUES = {
    "remove_small": {"smallest": 400.0},
    "smooth": {"method": "joint", "mm": 2.0},
    "grow": {"mm": 4.0},
    "shrink": {"mm": 2.0},
    "hollow": {"mm": 4.0},
    "merge": {"into": 1},
}


def spoil(labels):
    """Give the tools something to do: islands, holes, missing slices."""
    rng = np.random.default_rng(4)
    for _ in range(250):
        corner = [int(rng.integers(0, n - 4)) for n in labels.shape]
        box = tuple(slice(c, c + int(rng.integers(1, 4))) for c in corner)
        labels[box] = 0 if labels[box].any() else rng.integers(1, 4)
    return labels


class Studio:
    """A napari window with the panel and the brain."""

    def __init__(self):
        import napari
        import nibabel

        from napari_medurwkv.samples import list_samples
        from napari_medurwkv.widgets.correct_panel import CorrectPanel

        sample = next(s for s in list_samples() if s.name == "brain")
        image = np.asarray(nibabel.load(sample.path).dataobj)
        path = Path(sample.path).with_name("brain_tissues.nii.gz")
        self.labels = spoil(np.asarray(nibabel.load(path).dataobj).astype(np.uint8))
        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.viewer.window.resize(1280, 1000)
        self.viewer.add_image(image, name="brain", **PLACE)
        self.layer = self.viewer.add_labels(self.labels.copy(), name="mask", **PLACE)
        self.panel = CorrectPanel(self.viewer, Path(tempfile.mkdtemp()))
        self.viewer.window.add_dock_widget(self.panel, name="Correct")
        self.panel.start()
        self.until(lambda: bool(self.panel.classes.rows))
        self.viewer.dims.set_point(0, 2 * SLICE)
        self.wait(1.5)

    def wait(self, seconds):
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    def until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(condition)
            self.wait(0.05)

    def canvas(self):
        self.wait(0.3)
        shot = self.viewer.screenshot(canvas_only=True, flash=False)[..., :3]
        height, width = shot.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = shot[top : top + side, left : left + side]
        step = max(1, side // 300)
        return square[::step, ::step]

    def use(self, tool):
        import imageio.v3 as iio

        self.viewer.dims.set_point(0, 2 * SLICE)
        # Each picture begins anew: nothing is protected.
        self.panel.session.mask.marks[...] = False
        self.layer.selected_label = 1
        if tool.name == "interpolate":
            self.layer.data[SLICE - 1 : SLICE + 2] = 0
            self.layer.refresh()
        if tool.name == "fill_holes":
            self.layer.data[SLICE, 18:25, 30:36] = 0
            self.layer.data[SLICE, 30:33, 14:20] = 0
            self.layer.refresh()
        before = self.canvas()
        if "layer" in tool.needs:
            other = np.roll(self.labels, 4, 2)
            self.viewer.add_labels(other, name="other", visible=False, **PLACE)
            self.viewer.layers.selection.active = self.layer
        self.panel.take_tool(tool)
        tools, drawing = self.panel.tools, self.panel.tools.drawing
        if "layer" in tool.needs:
            tools.other.choose(self.viewer.layers["other"])
        for name, value in VALUES.get(tool.name, {}).items():
            tools.form.set_value(name, value)
        if "point" in tool.needs:
            drawing.set_point(tuple(np.argwhere(self.layer.data == 2)[500]))
        elif "line" in tool.needs:
            drawing.helper.add(np.array(LINE), shape_type="path")
        elif "polygon" in tool.needs:
            drawing.helper.add(np.array(POLYGON), shape_type="polygon")
        elif "scribbles" in tool.needs:
            for y, x, label in ((40, 30, 2), (60, 50, 3), (8, 8, 1), (90, 70, 1)):
                drawing.helper.paint((SLICE, y, x), label)
        self.panel.classes.select_value(3 if tool.name in ("merge", "delete") else 1)
        flat = tool.flat and tool.name not in ("keep_largest", "keep_picked")
        tools.scope.setCurrentText("this slice" if flat else "volume")
        tools.refresh()
        self.until(lambda: not tools.preview.working)
        shown = self.canvas()
        status = tools.status.text()
        edit = tools.apply()
        after = self.canvas()
        iio.imwrite(FOLDER / f"{tool.name}.png", np.hstack([before, shown, after]))
        print(tool.name, "–", status)
        if edit is None:
            tools.cancel()
        for layer in [x for x in self.viewer.layers if x.name == "other"]:
            self.viewer.layers.remove(layer)
        self.layer.data[...] = self.labels
        self.layer.refresh()

    def brush_picture(self):
        """Picture the threshold brush: before, its range, and after a wide stroke."""
        import imageio.v3 as iio

        self.viewer.dims.set_point(0, 2 * SLICE)
        self.layer.data[SLICE] = 0
        self.layer.data[SLICE, 36:42, 50:56] = self.labels[SLICE, 36:42, 50:56]
        self.layer.refresh()
        values, counts = np.unique(self.layer.data[SLICE], return_counts=True)
        self.layer.selected_label = int(values[1:][counts[1:].argmax()])
        before = self.canvas()
        self.panel.brush.take_range()
        self.panel.brush.toggle()
        shown = self.canvas()
        self.layer.mode, self.layer.brush_size = "paint", 30
        with self.layer.block_history():
            for y, x in ((30, 45), (40, 55), (50, 60)):
                self.layer.paint((SLICE, y, x), self.layer.selected_label)
        self.panel.brush.toggle()
        after = self.canvas()
        self.layer.mode = "pan_zoom"
        iio.imwrite(FOLDER / "range_brush.png", np.hstack([before, shown, after]))
        self.layer.data[...] = self.labels
        self.layer.refresh()

    def panel_picture(self):
        self.panel.take_tool("smooth")
        self.until(lambda: not self.panel.tools.preview.working)
        self.wait(0.5)
        path = FOLDER / "panel.png"
        self.viewer.window.screenshot(str(path), canvas_only=False, flash=False)
        self.panel.tools.cancel()


def main():
    from napari_medurwkv.correction.catalogue import TOOLS

    FOLDER.mkdir(parents=True, exist_ok=True)
    studio, only = Studio(), sys.argv[1:]
    if not only:
        studio.panel_picture()
        studio.brush_picture()
    for tool in TOOLS:
        if not only or tool.name in only:
            studio.use(tool)
    studio.panel.shut_down()
    studio.viewer.close()


if __name__ == "__main__":
    main()
