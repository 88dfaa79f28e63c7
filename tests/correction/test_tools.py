from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.correction.catalogue import TOOLS, find_tool
from napari_medurwkv.correction.classes import LabelClass
from napari_medurwkv.correction.mask import EditableMask
from napari_medurwkv.correction.scope import Scope
from napari_medurwkv.correction.tools import Request, work_out
from napari_medurwkv.correction.watch import Watch
from napari_medurwkv.errors import CancelledError, CorrectionError

SHAPE = (8, 30, 34)
SPACING = (2.0, 1.0, 1.0)


@pytest.fixture
def mask():
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:7, 4:16, 4:30] = 1
    labels[2:6, 8:11, 10:13] = 0  # a hole
    labels[1:7, 20:26, 6:20] = 2
    labels[3, 28, 30:32] = 2  # an island
    classes = (LabelClass(1, "a", "#e69f00"), LabelClass(2, "b", "#56b4e9"))
    made = EditableMask(labels, SPACING, classes)
    made.count()
    return made


def full_request(mask, tool, scope, **changes):
    """Give a tool everything that it may want."""
    image = np.where(mask.array == 1, 100.0, 0.0) + np.arange(34)
    scribbles = np.full(SHAPE, -1, np.int16)
    scribbles[3:5, 6] = 1
    scribbles[3:5, 17] = 0
    fields = {
        "classes": (1, 2),
        "target": 1,
        "fresh": 3,
        "axis": 0,
        "point": (4, 5, 5),
        "path": ((4, 2, 15), (4, 18, 15), (4, 18, 20)),
        "image": image,
        "scribbles": scribbles,
        "other": np.roll(mask.array, 3, 2),
    }
    return Request(tool, scope, **(fields | changes))


SCOPES = {
    "slice": Scope.slice(SHAPE, 0, 4),
    "across": Scope.slice(SHAPE, 2, 15),
    "slab": Scope.slab(SHAPE, 0, 4, 1),
    "region": Scope("region", (slice(2, 7), slice(3, 29), slice(2, 33))),
    "volume": Scope.volume(SHAPE),
}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@pytest.mark.parametrize("scope", SCOPES)
def test_every_tool_stays_in_its_scope_and_can_be_undone(mask, tool, scope):
    where = SCOPES[scope]
    before = mask.array.copy()
    if scope == "slice" and not tool.flat:
        with pytest.raises(CorrectionError, match="volume"):
            work_out(mask, full_request(mask, tool, where))
        return
    axis = 2 if scope == "across" else 0
    path = tuple((y, x, 15) for _, y, x in ((0, 4, 1), (0, 4, 20), (0, 6, 20)))
    request = full_request(mask, tool, where, axis=axis)
    if scope == "across":
        if not tool.flat:
            return
        request = full_request(
            mask, tool, where, axis=axis, point=(4, 5, 15), path=path
        )
    try:
        prepared = work_out(mask, request)
    except CorrectionError:
        assert scope == "across" and tool.name.startswith("split")
        return
    np.testing.assert_array_equal(mask.array, before)
    edit = mask.enter(prepared)
    outside = np.ones(SHAPE, bool)
    outside[where.box] = False
    np.testing.assert_array_equal(mask.array[outside], before[outside])
    if not edit.empty:
        assert edit.name == tool.title
        mask.undo()
    np.testing.assert_array_equal(mask.array, before)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_no_tool_touches_a_locked_class(mask, tool):
    locked = [LabelClass(1, "a", "#e69f00"), LabelClass(2, "b", "#56b4e9", locked=True)]
    mask.change_classes("Lock", locked)
    before = mask.array.copy()
    mask.enter(work_out(mask, full_request(mask, tool, SCOPES["volume"])))
    np.testing.assert_array_equal(mask.array == 2, before == 2)


@pytest.mark.parametrize(
    "tool", [t for t in TOOLS if not t.target], ids=lambda tool: tool.name
)
def test_a_tool_on_one_class_leaves_the_others_alone(mask, tool):
    if tool.name in ("take_result", "grow_scribbles", "merge"):
        return  # they are told what to write over
    before = mask.array.copy()
    request = full_request(mask, tool, SCOPES["volume"], classes=(1,))
    mask.enter(work_out(mask, request))
    np.testing.assert_array_equal(mask.array[before == 2], 2)


def test_tools_do_what_they_are_called(mask):
    def run(name, **changes):
        tool = find_tool(name)
        edit = mask.enter(
            work_out(mask, full_request(mask, tool, SCOPES["volume"], **changes))
        )
        result = mask.array.copy()
        mask.undo()
        return edit, result

    _, result = run("fill_holes")
    assert (result[3, 8:11, 10:13] == 1).all()
    _, result = run("keep_largest")
    assert result[3, 28, 30] == 0
    _, result = run("remove_small", values={"smallest": 5.0})
    assert result[3, 28, 30] == 0
    _, result = run("delete", classes=(2,))
    assert not (result == 2).any()
    _, result = run("merge", classes=(2,), values={"into": 7})
    assert (result == 7).sum() == (mask.array == 2).sum()
    _, result = run("swap", values={"other": 2})
    np.testing.assert_array_equal(result == 1, mask.array == 2)
    _, result = run("invert")
    np.testing.assert_array_equal(result == 1, mask.array == 0)
    _, result = run("cut", path=((0, 0, 0), (0, 0, 12), (0, 29, 12), (0, 29, 0)))
    assert not result[:, 2:28, 2:11].any()
    _, result = run("split_line", path=((0, 0, 15), (0, 29, 15)))
    assert set(np.unique(result)) == {0, 1, 2, 3}


def test_a_new_result_leaves_what_a_person_drew(mask):
    box = (slice(4, 5), slice(0, 3), slice(0, 3))
    mask.apply("Draw", box, np.full((1, 3, 3), 2, np.uint8))
    tool, other = find_tool("take_result"), np.ones(SHAPE, np.uint8)
    request = full_request(mask, tool, SCOPES["volume"], other=other)
    edit = mask.enter(work_out(mask, request))
    assert edit.source == "model"
    assert (mask.array[box] == 2).all()
    assert np.count_nonzero(mask.array != 1) == 9
    over = full_request(
        mask, tool, SCOPES["volume"], other=other, values={"policy": "overwrite"}
    )
    mask.enter(work_out(mask, over))
    assert (mask.array == 1).all()
    assert not mask.marks.any()


def test_what_is_missing_is_asked_for(mask):
    for name in ("keep_picked", "split_line", "cut", "grow_scribbles", "logical"):
        tool = find_tool(name)
        with pytest.raises(CorrectionError, match="first"):
            work_out(mask, Request(tool, SCOPES["volume"]))
    with pytest.raises(CorrectionError, match="same grid"):
        tool = find_tool("logical")
        work_out(mask, full_request(mask, tool, SCOPES["volume"], other=np.ones(3)))


def test_work_that_was_overtaken_is_refused(mask):
    def paint(_):
        if not painted:
            painted.append(True)
            mask.apply("Paint", SCOPES["slice"].box, np.ones((1, 30, 34), np.uint8))

    painted = []
    request = full_request(mask, find_tool("keep_largest"), SCOPES["volume"])
    prepared = work_out(mask, request, Watch(paint))
    with pytest.raises(CorrectionError, match="changed since"):
        mask.enter(prepared)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool_can_be_cancelled(mask, tool):
    request = full_request(mask, tool, SCOPES["volume"])
    with pytest.raises(CancelledError):
        work_out(mask, request, Watch(cancel=lambda: True))


def test_the_catalogue_is_fit_to_be_shown():
    names = [tool.name for tool in TOOLS]
    assert len(set(names)) == len(names)
    for tool in TOOLS:
        assert tool.hint
        assert len(tool.title) <= 20
        for parameter in tool.parameters:
            if isinstance(parameter.default, str):
                assert parameter.default in parameter.choices
            elif not isinstance(parameter.default, bool):
                assert parameter.low <= parameter.default <= parameter.high


def combine(mask, **values):
    request = Request(
        find_tool("logical"), Scope.volume(SHAPE), target=1, values=values
    )
    before = mask.array.copy()
    mask.enter(work_out(mask, request))
    return before, mask.array


OPERATIONS = {
    "copy": lambda one, two: two,
    "add": lambda one, two: one | two,
    "subtract": lambda one, two: one & ~two,
    "intersect": lambda one, two: one & two,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_classes_of_one_mask_can_be_combined(mask, operation):
    before, after = combine(mask, operation=operation, source="another class", label=2)
    one, two = before == 1, before == 2
    wanted = OPERATIONS[operation](one, two)
    np.testing.assert_array_equal(after == 1, wanted)
    # The other class gives what the chosen one gains, and nothing else.
    np.testing.assert_array_equal(after == 2, two & ~wanted)


@pytest.mark.parametrize("label", [0, 1])
def test_combining_needs_another_class(mask, label):
    with pytest.raises(CorrectionError, match="another class"):
        combine(mask, source="another class", label=label)


def with_layer(mask, other, **values):
    request = Request(
        find_tool("logical"),
        Scope.volume(SHAPE),
        target=1,
        values={"operation": "add", **values},
        other=other,
    )
    before = mask.array.copy()
    mask.enter(work_out(mask, request))
    return before, mask.array


@pytest.mark.parametrize("label", [0, 2])
@pytest.mark.parametrize("overwrite", [False, True])
def test_one_label_of_another_layer_can_be_chosen(mask, label, overwrite):
    other = np.roll(mask.array, 3, 2)
    before, after = with_layer(mask, other, label=label, overwrite=overwrite)
    chosen = other == 2 if label else other != 0
    gained = chosen & (np.ones(SHAPE, bool) if overwrite else before == 0)
    np.testing.assert_array_equal(after == 1, (before == 1) | gained)
    if not overwrite:
        np.testing.assert_array_equal(after == 2, before == 2)


def test_a_class_needs_no_layer():
    tool = find_tool("logical")
    assert tool.needed({}) == ("layer",)
    assert tool.needed({"source": "another class"}) == ()
