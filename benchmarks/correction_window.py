"""Paint on a mask of 512 x 512 x 300 voxels with live numbers; time the event loop.

    xvfb-run -a -s "-screen 0 1280x1000x24" python benchmarks/correction_window.py

Strokes are drawn by moves of the mouse, as napari's canvas passes them on, with the
Correct panel open; a timer of 2 ms notes the longest time between two of its ticks, and
how much of such a gap the main thread computed: the rest it waited for a processor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp()) / "s.yaml"))

import numpy as np

RESULTS = Path(__file__).with_name("results")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs=3, type=int, default=(300, 512, 512))
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--bare", action="store_true", help="napari alone")
    chosen = parser.parse_args()
    import napari
    from napari.utils._test_utils import read_only_mouse_event
    from napari.utils.interactions import (
        mouse_move_callbacks,
        mouse_press_callbacks,
        mouse_release_callbacks,
    )
    from qtpy.QtCore import Qt, QTimer
    from qtpy.QtWidgets import QApplication

    import correction
    from napari_medurwkv.widgets.correct_panel import CorrectPanel

    shape, load = tuple(chosen.shape), round(os.getloadavg()[0], 1)
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(1280, 1000)
    mask = correction.make_mask(shape)
    viewer.add_image(mask * np.uint8(40), scale=correction.SPACING)
    layer = viewer.add_labels(mask, scale=correction.SPACING)
    panel = CorrectPanel(viewer, Path(tempfile.mkdtemp()))
    viewer.window.add_dock_widget(panel, name="Correct")
    if not chosen.bare:
        panel.start()

    def wait(seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            QApplication.processEvents()

    while not chosen.bare and not (
        panel.session.counted
        and panel.session.mask.classes
        and panel.session.components.exact
    ):
        wait(0.05)
    wait(2)
    gaps, busy = [], []
    last, computed = [time.perf_counter()], [time.thread_time()]

    def tick():
        now, own = time.perf_counter(), time.thread_time()
        gaps.append(now - last[0])
        busy.append(own - computed[0])
        last[0], computed[0] = now, own

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)

    def event(kind, point):
        return read_only_mouse_event(
            type=kind,
            is_dragging=kind == "mouse_move",
            button=1,
            position=point,
            view_direction=None,
            dims_displayed=[1, 2],
        )

    counted = []
    if not chosen.bare:
        panel.session.components.counted.connect(lambda: counted.append(True))
    rng = np.random.default_rng(0)
    layer.mode, layer.brush_size = "paint", 30
    viewer.dims.set_point(0, shape[0] // 2 * correction.SPACING[0])
    wait(1)
    last[0], computed[0] = time.perf_counter(), time.thread_time()
    timer.start(2)
    end, strokes = time.perf_counter() + chosen.seconds, 0
    while time.perf_counter() < end:
        layer.selected_label = int(rng.integers(0, 6))
        place = rng.uniform(50, 350, 2)
        z = shape[0] // 2 * correction.SPACING[0]
        mouse_press_callbacks(layer, event("mouse_press", (z, *place)))
        for _ in range(20):
            place = place + rng.normal(0, 6, 2)
            mouse_move_callbacks(layer, event("mouse_move", (z, *place)))
            wait(0.012)
        mouse_release_callbacks(layer, event("mouse_release", (z, *place)))
        strokes += 1
        wait(0.1)
    painting, computing = sorted(gaps), sorted(busy)
    gaps.clear()
    last[0] = time.perf_counter()
    if not chosen.bare:
        panel.session.autosave.save()
        while panel.session.autosave.saving:
            wait(0.02)
    saving = max(gaps, default=0.0)
    undo_begun = time.perf_counter()
    layer.undo()
    undo = time.perf_counter() - undo_begun
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "napari": napari.__version__,
        "Correct panel": not chosen.bare,
        "load of the machine before": load,
        "shape": list(shape),
        "strokes": strokes,
        "islands counted anew": len(counted),
        "longest gap while painting, ms": round(1000 * painting[-1], 1),
        "99th percentile, ms": round(1000 * painting[int(0.99 * len(painting))], 1),
        "longest that the main thread computed in a gap, ms": round(
            1000 * computing[-1], 1
        ),
        "longest gap while autosave writes, ms": round(1000 * saving, 1),
        "undo of a stroke, ms": round(1000 * undo, 1),
    }
    print(json.dumps(result, indent=1))
    chosen.out.mkdir(parents=True, exist_ok=True)
    name = "correction-window-bare.json" if chosen.bare else "correction-window.json"
    path = chosen.out / name
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    timer.stop()
    panel.shut_down()
    viewer.close()


if __name__ == "__main__":
    main()
