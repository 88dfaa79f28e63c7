"""A napari session that segments, corrects, and waits to be killed.

Run as ``python correct_session_child.py FOLDER``. At each checkpoint it writes the mask
to FOLDER; then it says so on the standard output.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_medurwkv.widgets.correct_panel import CorrectPanel

FOLDER = Path(sys.argv[1])
SHAPE = (8, 40, 48)


def main():
    viewer = napari.Viewer(show=False)
    result = np.zeros(SHAPE, np.uint8)
    result[1:6, 5:25, 5:25] = 1
    result[3, 10:12, 10:12] = 0
    layer = viewer.add_labels(result, name="mask")  # what a run left
    panel = CorrectPanel(viewer, FOLDER / "journal")
    viewer.window.add_dock_widget(panel, name="Correct")
    panel.start()

    def until(condition):
        end = time.monotonic() + 60
        while not condition():
            if time.monotonic() > end:
                sys.exit("it did not come to rest")
            QApplication.processEvents()
            time.sleep(0.002)

    until(lambda: panel.session.counted and bool(panel.session.mask.classes))

    def tool(name, **values):
        panel.take_tool(name)
        panel.tools.scope.setCurrentText("volume")
        for key, value in values.items():
            panel.tools.form.set_value(key, value)
        until(lambda: not panel.tools.preview.working)
        panel.tools.apply()

    states = [layer.data.copy()]
    layer.mode = "paint"
    for action in (
        lambda: layer.paint((3, 30, 30), 2),
        lambda: tool("fill_holes"),
        lambda: layer.paint((4, 8, 8), 0),
        lambda: tool("grow", mm=2.0),
        lambda: tool("shrink", mm=1.0),
    ):
        action()
        states.append(layer.data.copy())
    for before in reversed(states[:-1]):
        layer.undo()
        assert np.array_equal(layer.data, before)
    for after in states[1:]:
        layer.redo()
        assert np.array_equal(layer.data, after)
    # The model runs again; what a person changed stays.
    marks = panel.session.mask.marks.copy()
    again = viewer.add_labels(np.full(SHAPE, 3, np.uint8), name="second run")
    viewer.layers.selection.active = layer
    panel.picker.choose(layer)
    panel.take_tool("take_result")
    panel.tools.other.choose(again)
    panel.tools.scope.setCurrentText("volume")
    until(lambda: not panel.tools.preview.working)
    panel.tools.apply()
    assert np.array_equal(layer.data[marks], states[-1][marks])
    assert (layer.data[~marks] == 3).all()
    until(lambda: not panel.session.autosave.pending)
    np.save(FOLDER / "mask.npy", layer.data)
    np.save(FOLDER / "marks.npy", panel.session.mask.marks)
    print("kept", flush=True)
    while True:  # until it is killed, in the middle of painting
        layer.paint((1, 5, int(time.monotonic() * 100) % 40), 1)
        QApplication.processEvents()


if __name__ == "__main__":
    main()
