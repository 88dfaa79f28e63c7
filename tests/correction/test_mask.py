from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction.boxes import full_box
from napari_medurwkv.correction.classes import LabelClass
from napari_medurwkv.correction.counts import tally_labels
from napari_medurwkv.correction.history import History
from napari_medurwkv.correction.mask import EditableMask
from napari_medurwkv.errors import CorrectionError

from .conftest import quick

SHAPE = (5, 8, 9)
CLASSES = tuple(
    LabelClass(v, n, c)
    for v, n, c in ((1, "a", "#e69f00"), (2, "b", "#56b4e9"), (3, "c", "#009e73"))
)


def make(budget=512 << 20, image=True, array=None):
    rng = np.random.default_rng(0)
    if array is None:
        array = rng.integers(0, 4, SHAPE).astype(np.uint8)
    grey = rng.normal(size=SHAPE) if image else None
    mask = EditableMask(array, (2, 1, 1), CLASSES, image=grey, budget=budget)
    mask.count()
    return mask


def lock(mask, *values):
    classes = [
        LabelClass(c.value, c.name, c.color, c.value in values) for c in mask.classes
    ]
    mask.change_classes("Lock", classes)


def random_box(rng, shape=SHAPE):
    box = []
    for n in shape:
        a, b = sorted(rng.integers(0, n + 1, 2))
        box.append(slice(int(a), int(max(b, a + 1))) if a < n else slice(n - 1, n))
    return tuple(box)


def check_numbers(mask):
    fresh = tally_labels(mask.array, mask.image)
    for value in range(5):
        row = np.flatnonzero(fresh.values == value)
        own = mask.counts.voxels(value)
        assert own == (int(fresh.voxels[row[0]].sum()) if len(row) else 0)
        if own:
            planes = np.flatnonzero(fresh.voxels[row[0]])
            np.testing.assert_array_equal(mask.counts.planes(value), planes)
            mean = mask.image[mask.array == value].mean()
            assert mask.counts.mean_intensity(value) == pytest.approx(mean)


@quick
@given(st.integers(0, 2**32 - 1))
def test_any_order_of_actions_equals_a_list_of_copies(seed):
    """The slow, obvious model keeps a copy of everything after every step."""
    rng = np.random.default_rng(seed)
    mask = make()
    states = [(mask.array.copy(), mask.marks.copy(), mask.classes)]
    position = 0
    for _ in range(30):
        action = rng.choice(
            ["tool", "stroke", "model", "undo", "redo", "classes", "replace", "goto"],
            p=[0.2, 0.2, 0.1, 0.2, 0.1, 0.1, 0.05, 0.05],
        )
        if action == "undo":
            done = mask.undo()
            assert (done is None) == (position == 0)
            position -= done is not None
        elif action == "redo":
            done = mask.redo()
            assert (done is None) == (position == len(states) - 1)
            position += done is not None
        elif action == "goto":
            position = int(rng.integers(0, len(states)))
            mask.go_to(position)
        else:
            edit = act(mask, rng, action)
            if edit is not None and not edit.empty:
                states[position + 1 :] = [
                    (mask.array.copy(), mask.marks.copy(), mask.classes)
                ]
                position += 1
        array, marks, classes = states[position]
        np.testing.assert_array_equal(mask.array, array)
        np.testing.assert_array_equal(mask.marks, marks)
        assert mask.classes == classes
        assert mask.history.position == position
        assert len(mask.history) == len(states) - 1
        check_numbers(mask)


def act(mask, rng, action):
    box = random_box(rng)
    before = mask.array[box].copy()
    after = before.copy()
    after[rng.random(after.shape) < 0.4] = rng.integers(0, 4)
    marks = mask.marks[box].copy()
    locked = np.isin(before, list(mask.locked)) | np.isin(after, list(mask.locked))
    if action == "tool":
        edit = mask.apply("Tool", box, after)
        np.testing.assert_array_equal(mask.array[box], np.where(locked, before, after))
        return edit
    if action == "stroke":
        allowed, held = mask.allow(box, before, after)
        mask.array[box] = allowed
        edit = mask.adopt("Brush", box, before, allowed, held=held)
        np.testing.assert_array_equal(mask.array[box], np.where(locked, before, after))
        return edit
    if action == "model":
        policy = rng.choice(["keep mine", "fill only empty", "overwrite"])
        edit = mask.apply("Model", box, after, source="model", policy=policy)
        kept = locked.copy()
        if policy != "overwrite":
            kept |= marks
        if policy == "fill only empty":
            kept |= before != 0
        np.testing.assert_array_equal(mask.array[box], np.where(kept, before, after))
        return edit
    if action == "classes":
        classes = list(mask.classes)
        index = int(rng.integers(0, len(classes)))
        old = classes[index]
        classes[index] = LabelClass(
            old.value, old.name + "x", old.color, bool(rng.random() < 0.5)
        )
        return mask.change_classes("Edit classes", classes)
    fresh = mask.array.copy()
    fresh[box] = after
    return mask.replace_array(fresh)


def test_a_new_shape_begins_the_history_anew():
    mask = make()
    mask.apply("Tool", full_box(SHAPE), np.zeros(SHAPE, np.uint8))
    assert mask.replace_array(np.ones((3, 4, 5), np.uint8)) is None
    assert len(mask.history) == 0
    assert mask.history.forgotten == 1
    assert mask.marks.shape == (3, 4, 5)
    assert mask.counts.voxels(1) == 60
    assert mask.undo() is None


def test_a_preview_of_an_older_state_is_refused():
    mask = make()
    prepared = mask.prepare("Tool", full_box(SHAPE), np.zeros(SHAPE, np.uint8))
    mask.apply("Other", full_box(SHAPE), np.ones(SHAPE, np.uint8))
    with pytest.raises(CorrectionError, match="changed since"):
        mask.enter(prepared)
    assert (mask.array == 1).all()


def test_preparing_changes_nothing_and_says_what_is_held_back():
    mask = make()
    lock(mask, 2)
    array, steps = mask.array.copy(), len(mask.history)
    prepared = mask.prepare("Tool", full_box(SHAPE), np.zeros(SHAPE, np.uint8))
    np.testing.assert_array_equal(mask.array, array)
    assert len(mask.history) == steps
    assert prepared.edit.held == np.count_nonzero(array == 2)
    assert prepared.edit.voxels == np.count_nonzero((array != 2) & (array != 0))


def test_strokes_keep_to_where_they_are_allowed():
    mask = make(array=np.zeros(SHAPE, np.uint8))
    box = full_box(SHAPE)
    before = mask.array.copy()
    painted = np.ones(SHAPE, np.uint8)
    allowed, held = mask.allow(box, before, painted, lambda b: mask.image[b] < 0)
    mask.array[box] = allowed
    edit = mask.adopt("Brush", box, before, allowed, held=held)
    np.testing.assert_array_equal(mask.array == 1, mask.image >= 0)
    assert edit.held == np.count_nonzero(mask.image < 0)
    mask.undo()
    assert not mask.array.any()


def test_the_oldest_steps_go_when_the_budget_is_spent():
    mask = make(budget=6000)
    rng = np.random.default_rng(1)
    for _ in range(40):
        mask.apply("Noise", full_box(SHAPE), rng.integers(0, 4, SHAPE).astype(np.uint8))
    assert mask.history.nbytes <= 6000
    assert mask.history.forgotten == 40 - len(mask.history) > 0
    last = mask.array.copy()
    while mask.undo():
        pass
    while mask.redo():
        pass
    np.testing.assert_array_equal(mask.array, last)
    check_numbers(mask)


def test_a_step_larger_than_the_budget_can_still_be_undone():
    mask = make(budget=10)
    before = mask.array.copy()
    mask.apply("Tool", full_box(SHAPE), np.zeros(SHAPE, np.uint8))
    mask.undo()
    np.testing.assert_array_equal(mask.array, before)


def test_the_history_accounts_for_its_bytes():
    history = History()
    mask = make()
    for value in (1, 2, 3):
        edit = mask.apply("Tool", full_box(SHAPE), np.full(SHAPE, value, np.uint8))
        history.record(edit)
    assert history.nbytes == sum(step.nbytes for step in history.steps)
    history.step_back()
    history.step_back()
    history.record(edit)
    assert history.nbytes == sum(step.nbytes for step in history.steps)
    assert len(history) == 2
    assert history.next_redo is None


def test_numbers_that_were_never_asked_for_cost_nothing():
    mask = EditableMask(np.zeros(SHAPE, np.uint8), (1, 1, 1))
    edit = mask.apply("Tool", full_box(SHAPE), np.ones(SHAPE, np.uint8))
    assert edit.tally is None
    mask.count()
    mask.undo()
    assert mask.counts.voxels(1) == 0
    assert mask.counts.voxels(0) == np.prod(SHAPE)


def test_what_does_not_fit_is_refused():
    with pytest.raises(CorrectionError, match="axes"):
        EditableMask(np.zeros((3, 3), np.uint8), (1, 1, 1))
    mask = make()
    with pytest.raises(CorrectionError, match="shape"):
        mask.apply("Tool", full_box(SHAPE), np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(CorrectionError, match="number other than 0"):
        mask.change_classes("Twice", (CLASSES[0], CLASSES[0]))
    assert mask.classes == CLASSES


def test_steps_that_belong_together_become_one():
    """As a slider moves: each move over the last, undone and redone as one step."""
    mask = make()
    start, marks = mask.array.copy(), mask.marks.copy()
    rng = np.random.default_rng(1)
    last = None
    for number in range(5):
        box = random_box(rng)
        after = rng.integers(0, 4, mask.array[box].shape).astype(np.uint8)
        prepared = mask.prepare(f"Slide {number}", box, after, source="model")
        last = mask.enter(prepared, onto=last)
    end = mask.array.copy()
    assert len(mask.history) == 1
    assert mask.history.next_undo is last
    assert last.name == "Slide 4"
    check_numbers(mask)
    mask.undo()
    np.testing.assert_array_equal(mask.array, start)
    np.testing.assert_array_equal(mask.marks, marks)
    check_numbers(mask)
    mask.redo()
    np.testing.assert_array_equal(mask.array, end)
    check_numbers(mask)


def test_a_step_after_another_is_a_step_of_its_own():
    mask = make()
    box = full_box(SHAPE)
    first = mask.apply("Slide", box, mask.array // 2, source="model")
    mask.apply("Tool", box, mask.array + 1)
    prepared = mask.prepare(
        "Slide", box, mask.array * 0, source="model", policy="overwrite"
    )
    mask.enter(prepared, onto=first)
    assert [step.name for step in mask.history.steps] == ["Slide", "Tool", "Slide"]
    assert mask.history.nbytes == sum(step.nbytes for step in mask.history.steps)
