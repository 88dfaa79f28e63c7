"""Play a whole session in a real window, end it by kill -9, and compare all voxels.

Opens the brain sample, segments it with the embedded model, paints with the mouse, uses
tools, undoes everything and redoes everything, segments again and takes the result over
with protected edits, undoes and redoes that, waits for autosave, paints on and is
killed. A second window then finds the journal and recovers it. After every step the
mask is compared, byte for byte, with a copy that was kept of it::

    xvfb-run -a python benchmarks/correction_session.py

With ``--slices 3`` it takes a slab of the brain: that is the test of the suite. The
exit code is 0 where every comparison held.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp()) / "s.yaml"))

import numpy as np

TOOLS = (
    ("fill_holes", {}),
    ("remove_small", {"smallest": 100.0}),
    ("smooth", {"mm": 2.0}),
    ("grow", {"mm": 2.0}),
    ("shrink", {"mm": 2.0}),
)


class Window:
    """A napari window with the plugin docked."""

    def __init__(self, folder):
        import napari
        from qtpy.QtWidgets import QApplication

        from napari_medurwkv.correction import journal
        from napari_medurwkv.widgets.main_widget import MedurwkvWidget

        # Before a panel asks for it: the user's own journals stay out of this.
        journal.journal_folder = lambda: folder / "journal"
        self.process = QApplication.processEvents
        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.widget = MedurwkvWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.widget, name="Med-URWKV")
        self.panel = self.widget.correct

    def until(self, condition, what, seconds=1200):
        """Let the event loop run until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"the window did not get so far: {what}")
            self.process()
            time.sleep(0.002)

    def segment(self):
        """Press Segment and wait for the new mask."""
        segment, before = self.widget.segment, set(self.viewer.layers)
        self.widget.show_panel(segment)
        self.until(lambda: segment.ready, f"ready to segment ({segment.hint})")
        segment.button.click()
        self.until(lambda: not segment.running, "segmented")
        if "Done in" not in segment.status:
            raise AssertionError(segment.status)
        (mask,) = set(self.viewer.layers) - before
        return mask

    def correct(self, layer):
        """Show the Correct panel with a mask."""
        self.widget.show_panel(self.panel)
        self.viewer.layers.selection.active = layer
        self.panel.picker.choose(layer)
        self.panel.start()
        self.until(lambda: self.panel.session is not None, "a session")
        self.until(lambda: self.panel.session.counted, "counted")

    def tool(self, name, *, other=None, **values):
        """Take a tool, wait for its preview and apply it."""
        tools = self.panel.tools
        self.panel.take_tool(name)
        tools.scope.setCurrentText("volume")
        if other is not None:
            tools.other.choose(other)
        for key, value in values.items():
            tools.form.set_value(key, value)
        self.until(lambda: not tools.preview.working, name)
        if tools.ready:
            return tools.apply()
        tools.cancel()
        return None

    def drag(self, layer, points):
        """Drag the mouse over a layer, as the canvas passes it on."""
        from napari.utils._test_utils import read_only_mouse_event
        from napari.utils.interactions import (
            mouse_move_callbacks,
            mouse_press_callbacks,
            mouse_release_callbacks,
        )

        def event(kind, point):
            return read_only_mouse_event(
                type=kind,
                is_dragging=kind == "mouse_move",
                button=1,
                position=layer.data_to_world(point),
                view_direction=None,
                dims_displayed=[1, 2],
            )

        mouse_press_callbacks(layer, event("mouse_press", points[0]))
        for point in points[1:]:
            mouse_move_callbacks(layer, event("mouse_move", point))
            self.process()
        mouse_release_callbacks(layer, event("mouse_release", points[-1]))


def same(is_, should, what):
    if not np.array_equal(is_, should):
        count = np.count_nonzero(np.asarray(is_) != should)
        raise AssertionError(f"{what}: {count} voxels differ")


def open_sample(window, slices):
    import nibabel

    from napari_medurwkv.samples import find_sample
    from napari_medurwkv.widgets.reader import read_layers

    path = find_sample("brain").path
    if slices:
        image = nibabel.load(path)
        middle = image.shape[2] // 2
        slab = image.slicer[:, :, middle - slices // 2 : middle - slices // 2 + slices]
        path = Path(tempfile.mkdtemp()) / "slab.nii.gz"
        nibabel.save(slab, path)
    ((data, options, _),) = read_layers(str(path))
    return window.viewer.add_image(data, **options)


def work(folder, slices):
    """Do everything up to where the process is killed."""
    window = Window(folder)
    checks = 0
    image = open_sample(window, slices)
    layer = window.segment()
    window.correct(layer)
    session, data = window.panel.session, layer.data
    shape = data.shape
    window.viewer.dims.set_point(0, layer.data_to_world((shape[0] // 2, 0, 0))[0])
    rng = np.random.default_rng(0)
    states, marks = [data.copy()], [session.mask.marks.copy()]

    def stroke(label):
        layer.mode, layer.brush_size = "paint", 9
        layer.selected_label = label
        place = [rng.uniform(0.3 * n, 0.7 * n) for n in shape[1:]]
        points = [(shape[0] // 2, *place)]
        for _ in range(6):
            place = [c + rng.normal(0, 4) for c in place]
            points.append((shape[0] // 2, *place))
        window.drag(layer, points)

    actions = []
    for k, (name, values) in enumerate(TOOLS):
        actions.append(lambda k=k: stroke((k + 1) % 4))
        actions.append(lambda n=name, v=values: window.tool(n, **v))
    for action in actions:
        position = session.mask.history.position
        action()
        if session.mask.history.position > position:
            states.append(layer.data.copy())
            marks.append(session.mask.marks.copy())
    if len(states) < len(TOOLS) + 2:
        raise AssertionError(f"only {len(states)} states: the session did too little")
    for k in reversed(range(len(states) - 1)):
        layer.undo()
        same(layer.data, states[k], f"undo to step {k}")
        same(session.mask.marks, marks[k], f"marks, undo to step {k}")
        checks += 2
    for k in range(1, len(states)):
        layer.redo()
        same(layer.data, states[k], f"redo to step {k}")
        same(session.mask.marks, marks[k], f"marks, redo to step {k}")
        checks += 2
    # The model runs again, on a noisier image, so that its answer is another one; what
    # a person changed stays, all else is the new result.
    noise = rng.normal(0, 0.15 * float(image.data.std()), image.data.shape)
    image.data = (image.data + noise).astype(image.data.dtype)
    again = window.segment()
    result = again.data.copy()
    window.correct(layer)
    edit = window.tool("take_result", other=again)
    if edit is None:
        raise AssertionError("the second result changed nothing")
    expected = np.where(marks[-1], states[-1], result)
    same(layer.data, expected, "protected edits")
    layer.undo()
    same(layer.data, states[-1], "undo of the second result")
    layer.redo()
    same(layer.data, expected, "redo of the second result")
    checks += 4
    if window.panel.session is not session:
        raise AssertionError("the session began anew")
    stroke(2)
    if slices:  # the short form does not wait for the timer
        session.autosave.save()
    window.until(lambda: not session.autosave.pending, "autosaved", 120)
    np.save(folder / "mask.npy", layer.data)
    np.save(folder / "marks.npy", session.mask.marks)
    run = layer.metadata["medurwkv"]
    facts = {"checks": checks, "steps": len(states) + 1, "shape": list(shape)}
    place = {"geometry": run["geometry"], "record": run["record"]}
    (folder / "checks.json").write_text(json.dumps(facts))
    (folder / "place.json").write_text(json.dumps(place))
    print("kept", flush=True)
    while True:  # until it is killed, in the middle of painting
        stroke(1)
        window.process()


def recover(folder):
    """Start again, and take back what the journal kept."""
    window = Window(folder)
    panel = window.panel
    window.widget.show_panel(panel)
    window.until(lambda: panel.recovery._task is None, "looked for journals")
    if len(panel.recovery.entries) != 1:
        raise AssertionError(f"{len(panel.recovery.entries)} journals, not one")
    if panel.recovery.isHidden():
        raise AssertionError("the work is not offered")
    panel.recovery.recover()
    window.until(lambda: panel.session is not None, "recovered")
    mask = panel.session.mask
    same(mask.array, np.load(folder / "mask.npy"), "the recovered mask")
    same(mask.marks, np.load(folder / "marks.npy"), "the recovered marks")
    same(panel.session.layer.data, mask.array, "the recovered layer")
    place = json.loads((folder / "place.json").read_text())
    run = json.loads(json.dumps(panel.session.layer.metadata["medurwkv"]))
    if {key: run[key] for key in place} != place:
        raise AssertionError("the recovered mask has lost its grid or its run")
    window.until(lambda: panel.session.counted, "counted")
    panel.shut_down()
    print("recovered", flush=True)


def run(folder, slices):
    """Start, kill, start again; return what was checked."""
    command = [sys.executable, str(Path(__file__).resolve()), "--folder", str(folder)]
    begun = time.monotonic()
    with subprocess.Popen(
        [*command, "--role", "work", "--slices", str(slices)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        # Other lines may be napari's own.
        kept = any(line == "kept\n" for line in child.stdout)
        child.kill()
        child.wait()
    if not kept:
        raise AssertionError("the session ended before it was to be killed; see above")
    subprocess.run([*command, "--role", "recover"], check=True)
    facts = json.loads((folder / "checks.json").read_text())
    facts["checks"] += 4
    return {**facts, "seconds": round(time.monotonic() - begun, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=0, help="0: the whole brain")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--role", choices=["work", "recover"])
    parser.add_argument("--out", type=Path, help="write the result there")
    chosen = parser.parse_args()
    if chosen.role == "work":
        work(chosen.folder, chosen.slices)
        return
    if chosen.role == "recover":
        recover(chosen.folder)
        return
    folder = chosen.folder or Path(tempfile.mkdtemp())
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        **run(folder, chosen.slices),
        "voxels that differ": 0,
    }
    print(json.dumps(facts, indent=1))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
