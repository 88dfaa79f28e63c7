"""One history for napari's brush and for ours, whoever steps through it."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from napari_medurwkv.correction.boxes import full_box
from napari_medurwkv.correction.classes import LabelClass
from napari_medurwkv.correction.mask import EditableMask
from napari_medurwkv.errors import CorrectionError
from napari_medurwkv.widgets.labels_binding import LabelsBinding, real_layer

SHAPE = (6, 40, 44)
CLASSES = (LabelClass(1, "one", "#e69f00"), LabelClass(2, "two", "#56b4e9"))


@pytest.fixture
def layer(viewer):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 3, SHAPE).astype(np.uint8)
    layer = viewer.add_labels(data)
    layer.mode = "paint"
    return layer


@pytest.fixture
def bound(layer):
    binding = LabelsBinding(layer, EditableMask(layer.data, (1, 1, 1), CLASSES))
    yield binding
    binding.release()


def stroke(layer, points, label=1, size=7, dims=2):
    layer.brush_size, layer.n_edit_dimensions = size, dims
    with layer.block_history():
        for point in points:
            layer.paint(point, label, refresh=False)


def press(layer, *keys):
    from app_model.types import KeyBinding

    for key in keys:
        layer.keymap[KeyBinding.from_str(key)](layer)


def test_a_stroke_is_one_step_with_a_name(layer, bound):
    before = layer.data.copy()
    stroke(layer, [(1, 10, 10), (1, 12, 13), (1, 14, 16)])
    (step,) = bound.mask.history.steps
    assert step.name == "Paint one"
    assert step.source == "brush"
    after = layer.data.copy()
    np.testing.assert_array_equal(bound.mask.marks, before != after)
    press(layer, "Ctrl+Z")
    np.testing.assert_array_equal(layer.data, before)
    assert not bound.mask.marks.any()
    press(layer, "Ctrl+Shift+Z")
    np.testing.assert_array_equal(layer.data, after)


@pytest.mark.parametrize(
    ("mode", "label", "name"),
    [
        ("paint", 0, "Erase"),
        ("erase", 0, "Erase"),
        ("fill", 2, "Fill two"),
        ("paint", 7, "Paint label 7"),
    ],
)
def test_strokes_are_named_by_what_they_do(layer, bound, mode, label, name):
    layer.mode = mode
    if mode == "fill":
        layer.fill((1, 10, 10), label)
    else:
        stroke(layer, [(1, 10, 10)], label)
    assert [s.name for s in bound.mask.history.steps] == [name]


def test_every_way_to_edit_is_taken_over(layer, bound):
    states = [layer.data.copy()]
    edits = [
        lambda: layer.paint((1, 10, 10), 2),
        lambda: layer.fill((2, 5, 5), 7),
        lambda: layer.paint_polygon([(3, 5, 5), (3, 20, 6), (3, 12, 30)], 1),
        lambda: layer.data_setitem((np.r_[0, 5], np.r_[1, 30], np.r_[2, 40]), 9),
        lambda: layer.data_setitem(
            (np.r_[0, 5], np.r_[1, 30], np.r_[2, 40]), np.array([3, 4], np.uint8)
        ),
        lambda: stroke(layer, [(2, 20, 20), (3, 22, 22)], 2, dims=3),
    ]
    for edit in edits:
        edit()
        states.append(layer.data.copy())
    for before in reversed(states[:-1]):
        layer.undo()  # napari's own method
        np.testing.assert_array_equal(layer.data, before)
    for after in states[1:]:
        layer.redo()
        np.testing.assert_array_equal(layer.data, after)


def test_a_tool_between_strokes_keeps_its_place(layer, bound):
    states = [layer.data.copy()]
    stroke(layer, [(1, 10, 10)], 2)
    states.append(layer.data.copy())
    bound.mask.apply("Tool", full_box(SHAPE), np.zeros(SHAPE, np.uint8))
    states.append(layer.data.copy())
    stroke(layer, [(1, 10, 10)], 1)
    states.append(layer.data.copy())
    for before in reversed(states[:-1]):
        press(layer, "Ctrl+Z")
        np.testing.assert_array_equal(layer.data, before)
    press(layer, "Ctrl+Z")
    np.testing.assert_array_equal(layer.data, states[0])


def test_undo_after_the_data_was_replaced_harms_nothing(layer, bound):
    """napari's own undo would put the stroke's old voxels into the new data."""
    stroke(layer, [(1, 10, 10)], 2)
    painted = layer.data.copy()
    fresh = np.zeros(SHAPE, np.uint8)
    layer.data = fresh
    assert [s.name for s in bound.mask.history.steps] == ["Paint two", "Data replaced"]
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
    layer.redo()
    assert not layer.data.any()
    assert layer.data is fresh


def test_a_smaller_array_begins_anew(layer, bound):
    stroke(layer, [(1, 10, 10)], 2)
    layer.data = np.zeros((3, 9, 9), np.uint8)
    layer.undo()
    assert not layer.data.any()
    stroke(layer, [(1, 4, 4)], 2)
    layer.undo()
    assert not layer.data.any()


def test_other_dimensions_end_the_binding(layer, bound):
    ended = []
    bound.lost.connect(lambda: ended.append(True))
    layer.data = np.zeros((9, 9), np.uint8)
    assert ended == [True]
    assert not bound.bound
    layer.undo()


def test_strokes_before_the_binding_are_forgotten_and_those_after_are_napari_s(layer):
    stroke(layer, [(1, 10, 10)], 2)
    painted = layer.data.copy()
    binding = LabelsBinding(layer, EditableMask(layer.data, (1, 1, 1)))
    assert layer.mode == "paint"
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
    stroke(layer, [(1, 20, 20)], 1)
    after = layer.data.copy()
    binding.release()
    layer.undo()
    np.testing.assert_array_equal(layer.data, after)
    stroke(layer, [(2, 20, 20)], 1)
    layer.undo()
    np.testing.assert_array_equal(layer.data, after)
    assert not binding.mask.history.next_redo


def test_locked_classes_withstand_the_brush(layer, bound, qtbot):
    bound.mask.change_classes(
        "Lock", (LabelClass(1, "one", "#e69f00"), LabelClass(2, "two", "#56b4e9", True))
    )
    before = layer.data.copy()
    told = []
    bound.stroke.connect(told.append)
    layer.paint((3, 10, 10), 1)  # napari writes after it has told
    np.testing.assert_array_equal(layer.data == 2, before == 2)
    assert (layer.data[3, 10, 8:12] != 0).all()
    layer.paint((3, 20, 20), 1, refresh=False)
    qtbot.waitUntil(lambda: np.array_equal(layer.data == 2, before == 2))
    stroke(layer, [(1, 10, 10), (1, 12, 12)], 1, size=9)
    np.testing.assert_array_equal(layer.data == 2, before == 2)
    assert (layer.data[1, 10, 8:12] != 0).all()
    assert told[0].held > 0
    stroke(layer, [(2, 10, 10)], 2)
    np.testing.assert_array_equal(layer.data == 2, before == 2)
    assert len(bound.mask.history) == 4  # lock and three strokes


@pytest.fixture
def locked(layer, bound):
    one, two = CLASSES
    bound.mask.change_classes("Lock", (one, LabelClass(2, two.name, two.color, True)))
    before = layer.data.copy()

    def intact():
        np.testing.assert_array_equal(layer.data == 2, before == 2)

    return intact


def test_a_locked_class_is_never_seen_to_be_painted_over(layer, bound, locked):
    """Not even between two moves of the mouse, before the stroke ends."""
    stopped = []
    bound.stopped.connect(lambda: stopped.append(True))
    layer._begin_stroke()
    for column in (10, 14, 18):
        layer.brush_size = 9
        layer.paint((1, 10, column), 1)
        locked()
        assert (layer.data[1, 10, column - 3 : column + 4] != 0).all()
    layer._commit_stroke()
    locked()
    assert stopped == [True]
    assert bound.mask.history.steps[-1].held > 0


def test_a_locked_class_never_wins_a_voxel_in_a_stroke(layer, bound, locked):
    before = layer.data.copy()
    layer._begin_stroke()
    layer.paint((1, 10, 10), 2)
    np.testing.assert_array_equal(layer.data, before)
    layer._commit_stroke()
    assert len(bound.mask.history) == 1  # the lock; no empty step


@pytest.mark.parametrize("dims", [2, 3])
def test_fill_and_polygon_respect_locks_at_once(layer, bound, locked, dims):
    layer.n_edit_dimensions = dims
    layer.contiguous = False
    two = tuple(int(i) for i in np.argwhere(layer.data == 2)[0])
    seen = []
    layer.events.paint.connect(lambda e: seen.append(True))
    layer.fill(two, 7)
    locked()
    assert not seen
    empty = tuple(int(i) for i in np.argwhere(layer.data == 0)[0])
    layer.fill(empty, 2)
    locked()
    layer.fill(empty, 1)
    locked()
    assert layer.data[empty] == 1
    layer.n_edit_dimensions = 2
    layer.paint_polygon([(3, 5, 5), (3, 30, 6), (3, 12, 30)], 9)
    locked()
    assert (layer.data[3] == 9).any()


@pytest.mark.parametrize("value", [1, np.array([1, 3, 2, 2], np.uint8)])
def test_other_plugins_respect_locks_at_once(layer, bound, locked, value):
    free = np.argwhere(layer.data == 0)[:2]
    shut = np.argwhere(layer.data == 2)[:2]
    indices = tuple(np.concatenate([free[:1], shut, free[1:]]).T)
    layer.data_setitem(indices, value)
    locked()
    first = tuple(free[0])
    assert layer.data[first] == 1
    second = tuple(free[1])
    assert layer.data[second] == (1 if np.ndim(value) == 0 else 0)


def test_released_layers_have_napari_s_own_methods(layer):
    binding = LabelsBinding(layer, EditableMask(layer.data, (1, 1, 1), CLASSES))
    own = {"_apply_mask_to_data", "data_setitem"}
    assert own <= set(vars(layer))
    binding.release()
    assert not own & set(vars(layer))


def test_a_brush_rule_keeps_strokes_to_where_it_allows(layer, bound):
    image = np.random.default_rng(1).normal(size=SHAPE)
    bound.brush_rule = lambda box: image[box] < 0
    before = layer.data.copy()
    stroke(layer, [(1, 10, 10)], 5, size=9)
    changed = layer.data != before
    assert changed.any()
    assert not (changed & (image < 0)).any()


def test_edits_reach_the_screen(layer, bound):
    seen = []
    layer.events.set_data.connect(lambda e: seen.append(True))
    bound.mask.apply("Tool", full_box(SHAPE), np.full(SHAPE, 2, np.uint8))
    assert seen
    assert (layer._slice.image.raw == 2).all()
    seen.clear()
    bound.mask.undo()
    assert seen


def test_undo_waits_for_the_stroke_to_end(layer, bound):
    stroke(layer, [(1, 10, 10)], 2)
    before = layer.data.copy()
    layer._begin_stroke()
    layer.paint((1, 30, 30), 2)
    layer.undo()
    assert bound.mask.history.position == 1
    layer._commit_stroke()
    assert bound.mask.history.position == 2
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_several_scales_are_refused():
    layer = Labels([np.zeros((8, 8), np.uint8), np.zeros((4, 4), np.uint8)])
    with pytest.raises(CorrectionError, match="several scales"):
        LabelsBinding(layer, EditableMask(np.zeros((8, 8), np.uint8), (1, 1)))


def test_lazy_labels_have_the_same_history(viewer):
    dask = pytest.importorskip("dask.array")
    data = dask.zeros(SHAPE, dtype=np.uint8, chunks=(2, 20, 22))
    layer = viewer.add_labels(data)
    binding = LabelsBinding(layer, EditableMask(layer.data, (1, 1, 1)))
    layer.paint((1, 10, 10), 1)
    assert len(binding.mask.history) == 1
    layer.undo()
    assert not np.asarray(layer.data).any()
    layer.redo()
    assert np.asarray(layer.data).any()
    binding.release()


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_brush_tools_and_undo_equals_a_list_of_copies(
    viewer, layer, bound, seed
):
    rng = np.random.default_rng(seed)
    states, at = [layer.data.copy()], 0
    for _ in range(40):
        action = rng.choice(
            ["stroke", "tool", "fill", "undo", "redo", "slice", "replace", "3d"]
        )
        point = [int(rng.integers(0, n)) for n in SHAPE]
        steps = bound.mask.history.position, len(bound.mask.history)
        if action == "stroke":
            dims = int(rng.integers(2, 4))
            points = [point, [point[0], int(rng.integers(0, 40)), point[2]]]
            stroke(
                layer, points, int(rng.integers(0, 4)), int(rng.integers(1, 15)), dims
            )
        elif action == "fill":
            layer.fill(point, int(rng.integers(0, 4)))
        elif action == "tool":
            after = layer.data.copy()
            after[after == rng.integers(0, 4)] = rng.integers(0, 4)
            bound.mask.apply("Tool", full_box(SHAPE), after)
        elif action == "replace":
            fresh = layer.data.copy()
            fresh[point[0]] = 0
            layer.data = fresh
        elif action == "slice":
            viewer.dims.set_point(0, point[0])
        elif action == "3d":
            viewer.dims.ndisplay = 5 - viewer.dims.ndisplay
        elif action == "undo":
            layer.undo()
            at = max(at - 1, 0)
        else:
            layer.redo()
            at = min(at + 1, len(states) - 1)
        if action not in ("undo", "redo"):
            now = bound.mask.history.position, len(bound.mask.history)
            if now != steps or bound.mask.history.position > at:
                states[at + 1 :] = [layer.data.copy()]
                at += 1
        np.testing.assert_array_equal(layer.data, states[at])
        assert bound.mask.array is real_layer(layer).data
        assert bound.mask.history.position == at
