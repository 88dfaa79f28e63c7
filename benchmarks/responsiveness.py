"""How long the window does not answer while an image is segmented.

Starts napari with the plugin, opens the 3D sample, clicks Segment, cancels at about
half and watches the event loop all along:

    xvfb-run -a -s "-screen 0 1280x800x24" python benchmarks/responsiveness.py

The longest gap between two turns of the event loop is measured by a timer of 5 ms. A
second thread looks where the main thread is while a gap is longer than 50 ms, so that
what the plugin does and what napari does by itself can be told apart; that napari adds
a plain labels layer is measured for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

PLUGIN = "napari-medurwkv"
TICK_MS = 5
BAR_MS = 50
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass
class Phase:
    """The gaps of one part of the run.

    `busiest_ms` is the longest time that the main thread itself computed in a gap; the
    rest of a gap it waited: for a processor, the drawing of the screen, or a lock.
    """

    name: str
    seconds: float = 0.0
    longest_ms: float = 0.0
    over_bar: int = 0
    busiest_ms: float = 0.0
    stalls: list[str] = field(default_factory=list)


class LoopWatch:
    """Measures the gaps between the turns of the event loop."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.phases: list[Phase] = []
        self._last, self._computed = time.perf_counter(), time.thread_time()
        self._main = threading.main_thread().ident
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._begun = self._last
        self._timer.start()
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self, name: str) -> Phase:
        """Start another part of the run."""
        self.end()
        self._last = self._begun = time.perf_counter()
        self._computed = time.thread_time()
        self.phases.append(Phase(name))
        return self.phases[-1]

    def end(self) -> None:
        """End the part under way."""
        if self.phases:
            self.phases[-1].seconds = time.perf_counter() - self._begun

    def _tick(self) -> None:
        now, computed = time.perf_counter(), time.thread_time()
        gap = (now - self._last) * 1000 - TICK_MS
        busy = (computed - self._computed) * 1000
        self._last, self._computed = now, computed
        if self.phases:
            phase = self.phases[-1]
            phase.longest_ms = max(phase.longest_ms, gap)
            phase.over_bar += gap > BAR_MS
            phase.busiest_ms = max(phase.busiest_ms, busy)

    def _look(self) -> None:
        """Note every tenth of a second of a long gap what the main thread is at."""
        while True:
            time.sleep(0.01)
            if time.perf_counter() - self._last < BAR_MS / 1000:
                continue
            frame = sys._current_frames().get(self._main)
            if frame is not None and self.phases:
                self.phases[-1].stalls.append(whose(frame))
            time.sleep(0.09)


def whose(frame) -> str:
    """Name the innermost call, and the innermost one of the plugin under it."""
    stack = traceback.extract_stack(frame)
    ours = [
        f for f in stack if "napari_medurwkv" in f.filename and f.name != "<module>"
    ]
    inner = stack[-1]
    text = (
        f"{Path(inner.filename).parent.name}/{Path(inner.filename).name}:{inner.name}"
    )
    if ours:
        text += f" under {Path(ours[-1].filename).name}:{ours[-1].name}"
    return text


def wait_until(condition, seconds: float) -> None:
    """Let the event loop run until a condition holds."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer = QEventLoop(), QTimer()
    end = time.monotonic() + seconds
    timer.timeout.connect(
        lambda: loop.quit() if condition() or time.monotonic() > end else None
    )
    timer.start(10)
    loop.exec_() if hasattr(loop, "exec_") else loop.exec()
    timer.stop()
    if not condition():
        raise TimeoutError("the window did not get so far in time")


def pause(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, seconds + 60)


def measure(limit: float) -> dict:
    import napari
    import numpy as np

    viewer = napari.Viewer(show_welcome_screen=False)
    watch = LoopWatch()
    pause(1)
    watch.begin("panel opens, engine starts")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Med-URWKV")
    panel = widget.segment
    wait_until(lambda: not panel.preparing, limit)
    pause(1)
    watch.begin("napari opens the sample")
    viewer.open_sample(PLUGIN, "brain")
    wait_until(lambda: panel.ready, limit)
    pause(1)

    watch.begin("idle window")
    pause(3)
    image = viewer.layers[0]
    watch.begin("napari adds a plain labels layer")
    plain = viewer.add_labels(
        np.zeros(image.data.shape, np.uint8), scale=image.scale, units=image.units
    )
    pause(1)
    watch.begin("napari removes it")
    viewer.layers.remove(plain)
    viewer.layers.selection.active = image
    pause(1)

    watch.begin("click on Segment, layer appears")
    clicked = time.perf_counter()
    panel.button.click()
    pause(1)
    watch.begin("run, until about half")
    wait_until(lambda: panel.button.fraction > 0, limit)
    first = time.perf_counter() - clicked
    wait_until(lambda: panel.button.fraction >= 0.5 or not panel.running, limit)
    if not panel.running:
        raise RuntimeError(f"the run ended before it was cancelled: {panel.status}")
    watch.begin("cancel")
    clicked = time.perf_counter()
    panel.button.click()
    wait_until(lambda: panel.ready and panel.button.text() == "Segment", limit)
    latency = time.perf_counter() - clicked
    pause(1)
    watch.end()

    mask = viewer.layers[-1]
    block = mask.metadata["medurwkv"]
    result = {
        "phases": [asdict(phase) for phase in watch.phases],
        "first_window_s": first,
        "cancel_latency_s": latency,
        "partial_mask": mask.name,
        "partial_voxels": int(np.count_nonzero(mask.data)),
        "fraction": block["fraction"],
        "marked_incomplete": block["complete"] is False,
        "engine": block["record"]["device_path"] if block["record"] else None,
        "model": block["model"],
    }
    viewer.close()
    return result


def describe_machine() -> dict:
    import napari
    from qtpy import API_NAME

    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "napari": napari.__version__,
        "qt": API_NAME,
    }


def as_markdown(result: dict) -> str:
    machine = result["machine"]
    lines = [
        "# Responsiveness of the window",
        "",
        "Made by `benchmarks/responsiveness.py`: Segment on the 3D sample, cancelled "
        "at about half.",
        "",
        f"{machine['cores']} cores, load {machine['load_before']:.1f} before the "
        f"start, napari {machine['napari']}, {machine['qt']}, {machine['platform']}; "
        "the screen is drawn by the CPU.",
        "",
        "| phase | seconds | longest gap, ms | gaps over 50 ms "
        "| longest computing of the main thread in a gap, ms |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {p['name']} | {p['seconds']:.1f} | {p['longest_ms']:.0f} "
        f"| {p['over_bar']} | {p['busiest_ms']:.0f} |"
        for p in result["phases"]
    ]
    lines += [
        "",
        f"* First window after {result['first_window_s']:.1f} s.",
        f"* From the click on Cancel to a button that says Segment: "
        f"{result['cancel_latency_s']:.2f} s (bar: 2 s).",
        f"* Kept: “{result['partial_mask']}”, {result['partial_voxels']} voxels, "
        f"marked as incomplete: {'yes' if result['marked_incomplete'] else 'no'}.",
        "",
        "Where the main thread was in gaps over 50 ms, looked at every 0.1 s:",
        "",
    ]
    for phase in result["phases"]:
        for stall in sorted(set(phase["stalls"])):
            count = phase["stalls"].count(stall)
            lines.append(f"* {phase['name']}: {stall} ({count}×)")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--limit", type=float, default=600, help="seconds per wait")
    arguments = parser.parse_args()
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    machine = describe_machine()
    result = {"machine": machine, **measure(arguments.limit)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "responsiveness"
    path.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    text = as_markdown(result)
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
