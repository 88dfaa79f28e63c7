# ruff: noqa: D102
"""Do at random what annotators do, and compare the mask with a simple model of it.

Strokes of the mouse, tools with their previews, undo, redo, steps of the history, class
edits, locks, layer renames and deletions, data that somebody else replaces, 2D and 3D,
autosave: after every action the mask has to equal the copy that the model kept::

    QT_QPA_PLATFORM=offscreen python benchmarks/correction_random.py --minutes 30

The window is a real one, but for its canvas: in Mesa's software renderer, napari 0.9.2
without any plugin crashes when a layer that was painted on is shown in 3D and leaves.
Exit code 0 means that no exception and no difference was seen.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp()) / "s.yaml"))

import numpy as np

SHAPE = (10, 72, 80)
MOST_STATES = 400
PLAIN = (
    "keep_largest",
    "remove_small",
    "split_islands",
    "fill_holes",
    "smooth",
    "grow",
    "shrink",
    "hollow",
    "interpolate",
    "invert",
    "swap",
    "split_waists",
    "logical",
    "merge",
    "delete",
)
ACTIONS = {
    "stroke": 30,
    "erase": 8,
    "fill": 3,
    "tool": 14,
    "take_result": 3,
    "range": 3,
    "islands": 3,
    "doubt": 2,
    "put_away": 3,
    "undo": 16,
    "redo": 10,
    "go_to": 4,
    "scroll": 6,
    "lock": 3,
    "rename_class": 2,
    "rename_layer": 2,
    "replace": 2,
    "other_layer": 1,
    "delete_layer": 1,
    "flip_3d": 2,
    "order": 1,
    "save": 1,
    "review": 2,
}


def make_volume(rng):
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.normal(size=(3, *SHAPE)), (0, 2, 6, 6))
    labels = (noise.argmax(axis=0) + 1).astype(np.uint8)
    labels[noise.max(axis=0) < np.quantile(noise.max(axis=0), 0.6)] = 0
    return labels


class Monkey:
    """Acts on a viewer with the Correct panel, and keeps the model beside it."""

    def __init__(self, viewer, panel, pump, seed):
        self.viewer, self.panel, self.pump = viewer, panel, pump
        self.rng = np.random.default_rng(seed)
        self.done = dict.fromkeys(ACTIONS, 0)
        self.new_layer()

    # ------------------------------------------------------------------- state

    def new_layer(self):
        layer = self.viewer.add_labels(make_volume(self.rng), name="mask")
        self.viewer.layers.selection.active = layer
        self.panel.picker.choose(layer)
        self.until(lambda: self.panel.session is not None)
        self.until(lambda: self.session.counted and bool(self.session.mask.classes))
        self.states, self.at = [self.copy()], 0

    @property
    def session(self):
        return self.panel.session

    @property
    def layer(self):
        return self.session.layer

    def until(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the panel did not come to rest")
            self.pump()

    def copy(self):
        mask = self.session.mask
        # Classes are compared by what a person edits; new labels get theirs unasked.
        return mask.array.copy(), mask.marks.copy(), mask.locked

    def note(self, steps):
        """Keep a copy if the action made a step; forget what could be redone."""
        position, length = self.steps()
        if (position, length) != steps or position > self.at:
            self.states[self.at + 1 :] = [self.copy()]
            self.at += 1

    def steps(self):
        history = self.session.mask.history
        return history.position + history.forgotten, len(history) + history.forgotten

    def check(self, action):
        array, marks, locked = self.states[self.at]
        mask = self.session.mask
        for name, is_, should in (
            ("labels", mask.array, array),
            ("marks", mask.marks, marks),
            ("layer", np.asarray(self.layer.data), array),
        ):
            if not np.array_equal(is_, should):
                raise AssertionError(f"{name} differ after {action}")
        if mask.locked != locked:
            raise AssertionError(f"locks differ after {action}")
        counts = mask.counts
        if counts is not None:
            for value in np.unique(array):
                if counts.voxels(int(value)) != np.count_nonzero(array == value):
                    raise AssertionError(f"numbers differ after {action}")

    # ----------------------------------------------------------------- actions

    def act(self):
        names = list(ACTIONS)
        weights = np.array([ACTIONS[n] for n in names], float)
        action = str(self.rng.choice(names, p=weights / weights.sum()))
        self.done[action] += 1
        getattr(self, f"do_{action}")()
        self.pump()
        self.check(action)
        if len(self.states) > MOST_STATES:
            self.do_delete_layer()
        return action

    def point(self):
        return [int(self.rng.integers(0, n)) for n in SHAPE]

    def do_stroke(self, mode="paint"):
        layer, steps = self.layer, self.steps()
        layer.mode = mode
        layer.brush_size = int(self.rng.integers(1, 20))
        layer.n_edit_dimensions = int(self.rng.integers(2, 4))
        layer.selected_label = int(self.rng.integers(0, 5))
        start = self.point()
        before, locked = self.copy()[0], self.session.mask.locked
        with layer.block_history():
            for _ in range(int(self.rng.integers(1, 8))):
                value = 0 if mode == "erase" else layer.selected_label
                layer.paint(start, value, refresh=False)
                for own in locked:  # not even while the stroke goes on
                    if not np.array_equal(layer.data == own, before == own):
                        raise AssertionError("a stroke went over a locked class")
                start = [
                    int(np.clip(s + self.rng.integers(-6, 7), 0, n - 1))
                    for s, n in zip(start, SHAPE, strict=True)
                ]
        layer.refresh()
        self.note(steps)

    def do_erase(self):
        self.do_stroke("erase")

    def do_fill(self):
        steps = self.steps()
        self.layer.mode = "fill"
        self.layer.fill(self.point(), int(self.rng.integers(0, 5)))
        self.pump()
        self.note(steps)

    def do_tool(self, apply=True):
        steps = self.steps()
        self.panel.take_tool(str(self.rng.choice(PLAIN)))
        tools = self.panel.tools
        tools.scope.setCurrentIndex(int(self.rng.integers(0, 4)))
        if tools.tool.name == "logical":
            operations = ("copy", "add", "subtract", "intersect")
            tools.form.set_value("operation", str(self.rng.choice(operations)))
            tools.form.set_value("source", "another class")
            tools.form.set_value("label", int(self.rng.integers(1, 4)))
        self.until(lambda: not tools.preview.working)
        if apply and tools.ready:
            tools.apply()
        else:
            tools.cancel()
        self.note(steps)

    def do_take_result(self):
        """Take over a new result: what a person changed stays, as is locked."""
        steps, layer, mask = self.steps(), self.layer, self.session.mask
        policies = ("keep mine", "fill only empty", "overwrite")
        policy = str(self.rng.choice(policies))
        result, marks = make_volume(self.rng), mask.marks.copy()
        before, _, locked = self.copy()
        again = self.viewer.add_labels(result, name="again")
        self.viewer.layers.selection.active = layer
        self.panel.picker.choose(layer)
        self.panel.take_tool("take_result")
        tools = self.panel.tools
        tools.other.choose(again)
        tools.form.set_value("policy", policy)
        tools.scope.setCurrentText("volume")
        self.until(lambda: not tools.preview.working)
        if tools.ready:
            tools.apply()
        else:
            tools.cancel()
        kept = np.isin(before, list(locked)) | np.isin(result, list(locked))
        if policy != "overwrite":
            kept |= marks
        if policy == "fill only empty":
            kept |= before != 0
        if not np.array_equal(mask.array, np.where(kept, before, result)):
            raise AssertionError(f"taken over otherwise than by {policy}")
        self.viewer.layers.remove(again)
        self.viewer.layers.selection.active = layer
        self.note(steps)

    def do_range(self):
        """Strokes within a range, and beyond it."""
        image = self.rng.normal(size=SHAPE)
        steps, before = self.steps(), self.copy()[0]
        self.session.binding.brush_rule = lambda box: image[box] < 0
        layer = self.layer
        layer.mode, layer.brush_size = "paint", 15
        layer.paint(self.point(), int(self.rng.integers(0, 5)))
        self.session.binding.brush_rule = None
        if ((layer.data != before) & (image < 0)).any():
            raise AssertionError("a stroke went out of its range")
        self.note(steps)

    def do_islands(self):
        """Compare the islands, counted plane by plane, with those of the whole."""
        from scipy import ndimage

        session = self.session
        self.until(lambda: session.components.exact)
        array = session.mask.array
        for value in np.unique(array[array != 0]):
            if (
                session.components.number(int(value))
                != ndimage.label(array == value)[1]
            ):
                raise AssertionError("islands are counted wrongly")

    def do_doubt(self):
        slices = [self.rng.random(n).tolist() for n in SHAPE]
        self.layer.metadata["medurwkv"] = {"uncertainty": {"slices": slices}}
        navigator = self.panel.navigator
        kind = navigator.kind.currentText()
        navigator.kind.setCurrentText("by uncertainty")
        navigator.go(int(self.rng.choice([-1, 1])))
        navigator.kind.setCurrentText(kind)

    def do_put_away(self):
        self.do_tool(apply=False)

    def do_undo(self):
        can = self.session.mask.history.position > 0
        self.layer.undo()
        self.at -= can

    def do_redo(self):
        can = self.session.mask.history.next_redo is not None
        self.layer.redo()
        self.at += can

    def do_go_to(self):
        history = self.session.mask.history
        position = int(self.rng.integers(0, len(history) + 1))
        self.at += position - history.position
        self.panel.history.chosen.emit(position)

    def do_scroll(self):
        self.viewer.dims.set_point(0, int(self.rng.integers(0, SHAPE[0])))

    def do_lock(self):
        steps = self.steps()
        self.layer.selected_label = int(self.rng.integers(1, 4))
        self.panel.lock_chosen()
        self.note(steps)

    def do_rename_class(self):
        steps = self.steps()
        self.until(lambda: bool(self.panel.classes.rows))
        row = self.rng.choice(len(self.panel.classes.rows))
        info = self.panel.classes.rows[int(row)].info
        self.panel.classes.rename(info.value, f"name {self.rng.integers(0, 99)}")
        self.note(steps)

    def do_rename_layer(self):
        self.layer.name = f"mask {self.rng.integers(0, 1000)}"

    def do_replace(self):
        steps = self.steps()
        fresh = np.asarray(self.layer.data).copy()
        fresh[int(self.rng.integers(0, SHAPE[0]))] = int(self.rng.integers(0, 4))
        self.layer.data = fresh
        self.note(steps)

    def do_other_layer(self):
        """Choose another mask, and this one again: its history goes on."""
        mask = self.layer
        other = self.viewer.add_labels(np.zeros((9, 9), np.uint8), name="other")
        self.viewer.layers.selection.active = other
        self.panel.picker.choose(other)
        self.pump()
        self.panel.picker.choose(mask)
        self.until(lambda: self.session is not None and self.layer is mask)
        self.viewer.layers.remove(other)
        self.viewer.layers.selection.active = mask
        self.until(lambda: self.session.counted)

    def do_delete_layer(self):
        self.viewer.layers.remove(self.layer)
        self.pump()
        self.new_layer()

    def do_flip_3d(self):
        self.viewer.dims.ndisplay = 5 - self.viewer.dims.ndisplay

    def do_order(self):
        order = list(range(3))
        self.rng.shuffle(order)
        self.viewer.dims.order = tuple(order)

    def do_save(self):
        self.session.autosave.save()
        self.until(lambda: not self.session.autosave.saving)

    def do_review(self):
        self.panel.navigator.go(int(self.rng.choice([-1, 1])))
        self.panel.navigator.mark()
        self.until(lambda: self.panel.navigator._task is None)


def run(minutes, seed, viewer, panel, pump, tell=print):
    """Act until the time is over; return how many actions there were."""
    monkey = Monkey(viewer, panel, pump, seed)
    end, count, told = time.monotonic() + 60 * minutes, 0, 0.0
    while time.monotonic() < end:
        monkey.act()
        count += 1
        if time.monotonic() - told > 60:
            told = time.monotonic()
            tell(f"{count} actions, {monkey.done}")
    tell(f"{count} actions without an exception or a difference: {monkey.done}")
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_medurwkv.widgets.correct_panel import CorrectPanel

    errors = []
    hook = sys.excepthook
    sys.excepthook = lambda *error: (errors.append(error), hook(*error))
    viewer = napari.Viewer(show_welcome_screen=False)
    panel = CorrectPanel(viewer, Path(tempfile.mkdtemp()))
    viewer.window.add_dock_widget(panel, name="Correct")
    panel.start()

    def pump():
        QApplication.processEvents()
        if errors:
            raise errors[0][1]

    run(
        chosen.minutes, chosen.seed, viewer, panel, pump, lambda s: print(s, flush=True)
    )
    panel.shut_down()
    viewer.close()


if __name__ == "__main__":
    main()
