"""The Correct panel on a viewer without a window."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_medurwkv.correction.catalogue import TOOLS
from napari_medurwkv.correction.journal import find_entries
from napari_medurwkv.widgets.correct_keys import panel_keys
from napari_medurwkv.widgets.correct_panel import CorrectPanel
from napari_medurwkv.widgets.helper_layers import is_helper
from napari_medurwkv.widgets.tool_icons import icon_pixels

SHAPE = (6, 40, 48)


@pytest.fixture
def layer(viewer):
    data = np.zeros(SHAPE, np.uint8)
    data[1:5, 5:20, 5:20] = 1
    data[2:4, 10:13, 10:13] = 0
    data[1:5, 25:35, 20:40] = 2
    data[2, 2, 40:43] = 2
    image = np.where(data == 1, 100.0, 0.0).astype(np.float32)
    viewer.add_image(image, scale=(2, 1, 1), units="mm", name="image")
    return viewer.add_labels(data, scale=(2, 1, 1), units="mm", name="mask")


@pytest.fixture
def make(viewer, tmp_path, qtbot, engine):
    panels = []

    def make_panel():
        panel = CorrectPanel(viewer, tmp_path)
        panel.tools.learned.engine = engine
        panels.append(panel)
        qtbot.addWidget(panel)
        panel.start()
        qtbot.waitUntil(lambda: panel.recovery._task is None)
        return panel

    yield make_panel
    for panel in panels:
        panel.shut_down()


@pytest.fixture
def panel(layer, make, qtbot):
    made = make()
    qtbot.waitUntil(lambda: made.session.counted and bool(made.classes.rows))
    return made


def settle(panel, qtbot):
    qtbot.waitUntil(lambda: not panel.tools.preview.working, timeout=10000)


def press(layer, key):
    from app_model.types import KeyBinding

    layer.keymap[KeyBinding.from_str(key)](layer)


def give(panel, tool, qtbot):
    """Give a tool what it waits for."""
    session = panel.session
    panel.take_tool(tool)
    drawing = panel.tools.drawing
    if "point" in tool.needs:
        drawing.set_point((2, 6, 6))
    elif "line" in tool.needs or "polygon" in tool.needs:
        corners = np.array([[2.0, 0, 12], [2.0, 39, 12], [2.0, 39, 30]])
        kind = "polygon" if "polygon" in tool.needs else "path"
        drawing.helper.add(corners[: 3 if kind == "polygon" else 2], shape_type=kind)
    elif "scribbles" in tool.needs:
        drawing.helper.paint((2, 7, 7), 2)
        drawing.helper.paint((2, 38, 7), 1)
    if tool.name in ("merge", "delete"):
        panel.classes.select_value(2)
        panel.tools.refresh()
    return session


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool_shows_what_it_would_do_and_does_that(
    panel, layer, viewer, tool, qtbot
):
    other = np.roll(layer.data, 3, 2)
    if "layer" in tool.needs:
        viewer.add_labels(other, scale=(2, 1, 1), name="other")
        viewer.layers.selection.active = layer
        panel.picker.choose(layer)
    before = layer.data.copy()
    give(panel, tool, qtbot)
    if "layer" in tool.needs:
        panel.tools.other.choose(viewer.layers["other"])
    panel.tools.scope.setCurrentText("volume")
    settle(panel, qtbot)
    np.testing.assert_array_equal(layer.data, before)
    edit = panel.tools.preview.edit
    assert edit is not None, panel.tools.status.text()
    if not edit.empty:
        assert panel.tools.ready
        assert "voxels" in panel.tools.status.text()
        (shown,) = [x for x in viewer.layers if x.name == "Preview"]
        assert np.count_nonzero(shown.data) == edit.voxels
        panel.tools.apply()
        assert np.count_nonzero(layer.data != before) == edit.voxels
        assert panel.session.mask.history.steps[-1].name == tool.title
        panel.undo()
    else:
        assert "nothing" in panel.tools.status.text()
        panel.tools.cancel()
    np.testing.assert_array_equal(layer.data, before)
    assert panel.tools.tool is None
    assert not any(is_helper(x) for x in viewer.layers)


def test_escape_leaves_the_mask_and_enter_changes_it(panel, layer, viewer, qtbot):
    before = layer.data.copy()
    press(layer, "Shift+F")
    panel.tools.scope.setCurrentText("volume")
    settle(panel, qtbot)
    press(layer, "Escape")
    np.testing.assert_array_equal(layer.data, before)
    assert [x.name for x in viewer.layers] == ["image", "mask"]
    press(layer, "Shift+F")
    settle(panel, qtbot)
    press(layer, "Enter")
    assert (layer.data[2:4, 10:13, 10:13] == 1).all()
    press(layer, "Ctrl+Z")
    np.testing.assert_array_equal(layer.data, before)


def test_the_preview_follows_parameters_slices_and_strokes(panel, layer, viewer, qtbot):
    panel.take_tool("grow")
    panel.tools.scope.setCurrentText("this slice")
    viewer.dims.set_point(0, 2 * 2)
    settle(panel, qtbot)
    first = panel.tools.preview.edit
    assert first.box[0] == slice(2, 3)
    panel.tools.form.set_value("mm", 4.0)
    settle(panel, qtbot)
    second = panel.tools.preview.edit
    assert second.voxels > first.voxels
    viewer.dims.set_point(0, 2 * 3)
    settle(panel, qtbot)
    assert panel.tools.preview.edit.box[0] == slice(3, 4)
    layer.brush_size = 3
    layer.paint((3, 30, 5), 1)
    panel.tools.apply()  # of a mask that has changed since: refused, and shown anew
    assert layer.data[3, 30, 9] == 0
    settle(panel, qtbot)
    panel.tools.apply()
    assert layer.data[3, 30, 9] == 1


def test_only_selected_classes_are_treated(panel, layer, qtbot):
    panel.classes.select_value(2)
    panel.take_tool("grow")
    panel.tools.which.setCurrentIndex(1)
    panel.tools.scope.setCurrentText("volume")
    settle(panel, qtbot)
    panel.tools.apply()
    assert np.count_nonzero(layer.data == 1) == 4 * 15 * 15 - 2 * 9
    panel.undo()


def test_classes_are_edited_locked_and_undone(panel, layer, qtbot):
    table = panel.classes
    table.rename(1, "liver")
    qtbot.waitUntil(lambda: table.item(0, 2).text() == "liver")
    assert layer.features["name"].tolist() == ["background", "liver", "label 2"]
    table.set_locked(1, True)
    layer.paint((2, 6, 6), 2)
    qtbot.waitUntil(lambda: "locked" in panel.message)
    assert layer.data[2, 6, 6] == 1
    table.change_color(2, "#123456")
    table.set_visible(2, False)
    panel.add_class()
    assert layer.selected_label == 3
    for _ in range(6):
        panel.undo()
    qtbot.waitUntil(lambda: table.item(0, 2).text() == "label 1")
    assert not panel.session.mask.locked


def test_numbers_follow_the_brush(panel, layer, qtbot):
    before = panel.classes.rows[1].voxels
    layer.paint((0, 30, 30), 2)
    painted = np.count_nonzero(layer.data == 2)
    qtbot.waitUntil(lambda: panel.classes.rows[1].voxels == painted)
    row = panel.classes.rows[1]
    image = panel._viewer.layers["image"].data
    assert row.mean == pytest.approx(image[layer.data == 2].mean())
    assert row.change == painted - before
    assert row.unit == "mL"
    assert row.size == pytest.approx(painted * 2 / 1000)
    assert panel.copy_numbers(",").splitlines()[2].startswith("2,label 2,")


def test_a_click_on_a_class_goes_there(panel, layer, viewer, qtbot):
    viewer.dims.set_point(0, 0)
    panel.classes.chosen.emit(2)
    assert layer.selected_label == 2
    assert panel.navigator.index in range(1, 5)


def test_the_history_can_be_walked(panel, layer, qtbot):
    states = [layer.data.copy()]
    for k in (5, 15, 25):
        layer.paint((0, k, k), 2)
        states.append(layer.data.copy())
    qtbot.waitUntil(lambda: panel.history.list.count() == 4)
    for k in (1, 3, 0, 2):
        panel.history.chosen.emit(k)
        np.testing.assert_array_equal(layer.data, states[k])
        qtbot.waitUntil(lambda k=k: panel.history.list.currentRow() == k)
    assert "of 537 MB" in panel.history.size_text


def test_the_arrows_go_to_slices_that_need_a_look(panel, layer, viewer, qtbot):
    navigator = panel.navigator
    viewer.dims.set_point(0, 0)
    navigator.go(1)
    qtbot.waitUntil(lambda: navigator.index == 1)
    navigator.kind.setCurrentText("with islands")
    press(layer, ".")
    qtbot.waitUntil(lambda: navigator.index == 2)
    press(layer, ".")
    qtbot.waitUntil(lambda: "no slice with islands after" in panel.message)
    press(layer, "K")
    assert panel.session.review[2] == "checked"
    assert "1/6" in navigator.state.text()
    navigator.kind.setCurrentText("not reviewed")
    press(layer, ",")
    qtbot.waitUntil(lambda: navigator.index == 1)


def doubt(*, axis0):
    slices = [list(axis0), [0.0] * 40, [0.0] * 48]
    return {"uncertainty": {"measure": "entropy", "slices": slices, "mean": 0.1}}


def test_the_arrows_go_to_where_the_model_was_unsure(panel, layer, viewer):
    layer.metadata["medurwkv"] = doubt(axis0=[0, 5.0, 0, 9.0, 2.0, 0])
    navigator = panel.navigator
    navigator.kind.setCurrentText("by uncertainty")
    viewer.dims.set_point(0, 0)
    for expected in (3, 1, 4):
        press(layer, ".")
        assert navigator.index == expected
    assert panel.message == "Slice 4: number 3 of 3 by uncertainty."
    press(layer, ".")
    assert navigator.index == 4
    assert "last slice by uncertainty" in panel.message
    press(layer, ",")
    assert navigator.index == 1
    viewer.dims.order = (1, 0, 2)
    press(layer, ".")
    assert "last slice by uncertainty" in panel.message  # nothing along this axis


@pytest.mark.parametrize("slices", [None, [], [[1.0], [1.0] * 40, [1.0] * 48]])
def test_a_mask_without_uncertainty_says_what_to_do(panel, layer, viewer, slices):
    if slices is not None:
        layer.metadata["medurwkv"] = {"uncertainty": {"slices": slices}}
    viewer.dims.set_point(0, 0)
    panel.navigator.kind.setCurrentText("by uncertainty")
    press(layer, ".")
    assert "segment with uncertainty" in panel.message
    assert panel.navigator.index == 0


def test_a_result_taken_over_brings_its_uncertainty(panel, layer, viewer, qtbot):
    layer.metadata["medurwkv"] = {"classes": [], **doubt(axis0=[1.0] * 6)}
    again = viewer.add_labels(np.ones(SHAPE, np.uint8), scale=(2, 1, 1), name="again")
    again.metadata["medurwkv"] = doubt(axis0=[0, 0, 0, 0, 0, 4.0])
    viewer.layers.selection.active = layer
    panel.picker.choose(layer)
    panel.take_tool("take_result")
    panel.tools.other.choose(again)
    panel.tools.scope.setCurrentText("volume")
    settle(panel, qtbot)
    assert panel.tools.other.layer is again  # the preview has not moved the choice
    panel.tools.apply()
    assert panel.session.uncertainty(0) == [0, 0, 0, 0, 0, 4.0]
    assert layer.metadata["medurwkv"]["classes"] == []


def test_the_threshold_brush_keeps_to_its_range(panel, layer, viewer, qtbot):
    layer.selected_label = 1
    viewer.dims.set_point(0, 2 * 2)
    panel.brush.take_range()
    panel.brush.low.setValue(50)
    panel.brush.high.setValue(150)
    press(layer, "Shift+Q")
    (shown,) = [x for x in viewer.layers if x.name == "Range of the brush"]
    np.testing.assert_array_equal(shown.data[2] == 1, layer.data[2] == 1)
    layer.brush_size = 9
    layer.paint((2, 20, 18), 3)
    image = viewer.layers["image"].data
    assert (image[layer.data == 3] == 100).all()
    assert (layer.data == 3).any()
    press(layer, "Shift+Q")
    assert not any(is_helper(x) for x in viewer.layers)
    layer.paint((2, 22, 22), 3)
    assert layer.data[2, 22, 22] == 3


def test_keys_are_none_of_napari_s(panel):
    from napari.utils.shortcuts import default_shortcuts

    taken = {str(key).lower() for keys in default_shortcuts.values() for key in keys}
    taken |= {"ctrl+z", "ctrl+shift+z"}
    own = [key.replace("-", "+").lower() for key in panel_keys(panel)]
    assert len(set(own)) == len(own)
    assert not taken & set(own)


def test_every_tool_is_named_and_explained(panel, qtbot):
    qtbot.waitUntil(
        lambda: all(not b.icon().isNull() for b in panel.palette_.buttons.values()),
        timeout=10000,
    )
    for tool in TOOLS:
        button = panel.palette_.buttons[tool.name]
        assert button.text() == tool.title
        assert tool.hint in button.toolTip()
        assert tool.key.replace("-", "+") in button.toolTip()


def test_the_panel_follows_layers(panel, layer, viewer, qtbot):
    viewer.layers.remove(layer)
    assert panel.session is None
    assert not panel.palette_.isEnabled()
    second = viewer.add_labels(np.zeros((9, 9), np.uint8))
    assert panel.session.layer is second
    assert panel.navigator.isHidden()
    second.name = "renamed"
    assert panel.picker.currentText() == "renamed"
    panel.take_tool("keep_largest")
    settle(panel, qtbot)
    assert "nothing" in panel.tools.status.text()


def test_a_mask_that_is_being_filled_waits(viewer, make, qtbot):
    layer = viewer.add_labels(np.zeros((9, 9), np.uint8))
    layer.editable = False
    panel = make()
    assert panel.session is None
    layer.editable = True
    assert panel.session.layer is layer
    layer.editable = False
    qtbot.waitUntil(lambda: panel.session is None)


def test_data_of_other_dimensions_begin_anew(panel, layer, qtbot):
    layer.data = np.zeros((12, 12), np.uint8)
    assert "history has ended" in panel.message
    qtbot.waitUntil(lambda: panel.session is not None)
    assert panel.session.mask.array.shape == (12, 12)


def test_two_panels_do_not_share_a_mask(panel, make):
    second = make()
    assert second.session is None
    assert "another" in second.message


def test_work_of_a_crash_comes_back(panel, layer, viewer, make, tmp_path, qtbot):
    layer.paint((2, 30, 5), 2)
    panel.classes.rename(1, "liver")
    panel.session.review.check(4)
    with qtbot.waitSignal(panel.session.autosave.saved):
        panel.session.autosave.save()
    kept, marks = layer.data.copy(), panel.session.mask.marks.copy()
    panel.shut_down()  # as far as a crash goes: the journal stays, its lock does not
    viewer.layers.remove(layer)
    second = make()
    assert "liver" in second.recovery.text.text()
    assert not second.recovery.picture.pixmap().isNull()
    second.recovery.recover()
    qtbot.waitUntil(lambda: second.session is not None)
    np.testing.assert_array_equal(second.session.mask.array, kept)
    np.testing.assert_array_equal(second.session.mask.marks, marks)
    assert second.session.mask.classes[0].name == "liver"
    assert second.session.review[4] == "checked"
    np.testing.assert_allclose(second.session.layer.scale, (2, 1, 1))
    qtbot.waitUntil(lambda: not second.session.autosave.pending)
    assert find_entries(tmp_path) == ()  # the old one went, the new one is in use
    second.shut_down()
    assert len(find_entries(tmp_path)) == 1


def test_a_panel_that_goes_lets_go(panel, layer, viewer, qtbot):
    panel.take_tool("grow")
    panel.shut_down()
    panel.shut_down()
    assert [x.name for x in viewer.layers] == ["image", "mask"]
    before = layer.data.copy()
    layer.paint((2, 30, 5), 2)
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)
    viewer.dims.set_point(0, 3)


def test_a_mask_keeps_its_session_while_another_is_shown(panel, layer, viewer, qtbot):
    """A new run's layer becomes the active one; that must not end the correction."""
    before = layer.data.copy()
    layer.paint((2, 30, 5), 2)
    after, session = layer.data.copy(), panel.session
    marks = session.mask.marks.copy()
    other = viewer.add_labels(np.ones(SHAPE, np.uint8), scale=(2, 1, 1), name="run 2")
    assert panel.session.layer is other
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)
    layer.redo()
    viewer.layers.selection.active = layer
    assert panel.session is session
    np.testing.assert_array_equal(session.mask.marks, marks)
    panel.take_tool("take_result")
    panel.tools.other.choose(other)
    panel.tools.scope.setCurrentText("volume")
    settle(panel, qtbot)
    panel.tools.apply()
    np.testing.assert_array_equal(layer.data[marks], after[marks])
    assert (layer.data[~marks] == 1).all()
    viewer.layers.remove(other)
    assert panel.session is session


def test_marks_outlive_the_panel(panel, layer, make, qtbot):
    layer.paint((2, 30, 5), 2)
    marks = panel.session.mask.marks.copy()
    panel.shut_down()
    second = make()
    np.testing.assert_array_equal(second.session.mask.marks, marks)


def test_classes_are_combined_without_another_layer(panel, layer, qtbot):
    layer.selected_label = 1
    before = layer.data.copy()
    panel.take_tool("logical")
    tools = panel.tools
    tools.scope.setCurrentText("volume")
    assert tools.status.text() == "Choose another labels layer."
    assert not tools.other.isHidden()
    tools.form.set_value("source", "another class")
    assert tools.other.isHidden()
    settle(panel, qtbot)
    assert "another class" in tools.status.text()  # which is still to be said
    tools.form.set_value("label", 2)
    settle(panel, qtbot)
    tools.apply()
    np.testing.assert_array_equal(layer.data == 1, before > 0)


def test_labels_are_asked_for_with_their_names(panel, layer):
    panel.classes.rename(2, "kidney")
    panel.take_tool("swap")
    spin = panel.tools.form._editors["other"]
    spin.setValue(2)
    assert spin.text() == "2 – kidney"
    assert spin.valueFromText("17") == 17
    assert spin.valueFromText("2 – kid") == 2
    spin.lineEdit().setText("30")
    assert panel.tools.form.values()["other"] == 30
    panel.take_tool("logical")
    assert panel.tools.form._editors["label"].text() == "0 – any"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_icon_shows_what_its_tool_changes(tool):
    pixels = icon_pixels(tool)
    assert pixels.shape == (26, 26, 4)
    drawn = pixels[pixels[..., 3] > 0][:, :3].astype(int)
    colourful = np.ptp(drawn, axis=1) > 60
    # Clearly more than a dot of what comes, goes or changes, at 26 pixels.
    assert colourful.sum() >= 8
    assert len(drawn) >= 120


def test_a_tool_follows_the_chosen_class(panel, layer, qtbot):
    layer.selected_label = 1
    panel.take_tool("invert")
    panel.tools.scope.setCurrentText("volume")
    settle(panel, qtbot)
    assert panel.tools.title.text() == "Invert – label 1"
    first = panel.tools.preview.edit
    layer.selected_label = 2
    settle(panel, qtbot)
    assert panel.tools.title.text() == "Invert – label 2"
    assert panel.tools.preview.edit is not first
    before = layer.data.copy()
    panel.tools.apply()
    np.testing.assert_array_equal(layer.data == 1, before == 1)
    np.testing.assert_array_equal(layer.data == 2, before == 0)


def test_all_classes_of_an_ordinary_mask_are_in_sight(panel, layer):
    table = panel.classes
    for value in range(3, 7):
        layer.paint((0, 4 * value, 44), value)
    panel.session._tell_changed()
    assert table.rowCount() == 6
    below = table.rowViewportPosition(5) + table.rowHeight(5)
    assert below <= table.maximumViewportSize().height()


def test_a_class_is_gone_to_along_any_axis(panel, layer, viewer, qtbot):
    for axis, order in ((1, (1, 0, 2)), (2, (2, 0, 1)), (0, (0, 1, 2))):
        viewer.dims.order = order
        viewer.dims.set_point(axis, 0)
        panel.classes.chosen.emit(2)
        held = np.flatnonzero(
            (layer.data == 2).any(axis=tuple(a for a in range(3) if a != axis))
        )
        qtbot.waitUntil(lambda held=held: panel.navigator.index in held)


def test_classes_and_steps_are_reached_by_keys(panel, layer, viewer, qtbot):
    table = panel.classes
    viewer.dims.set_point(0, 0)
    table.setCurrentCell(1, 2)
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert layer.selected_label == 2
    assert panel.navigator.index in (1, 2, 3, 4)
    table.setCurrentCell(1, 1)
    qtbot.keyClick(table, Qt.Key.Key_Space)
    assert panel.session.mask.locked == {2}
    layer.undo()
    table.setCurrentCell(0, 2)
    assert table.editTriggers() & table.EditTrigger.EditKeyPressed
    before = layer.data.copy()
    layer.paint((0, 5, 5), 1)
    qtbot.waitUntil(lambda: panel.history.list.count() == 2)
    panel.history.list.itemActivated.emit(panel.history.list.item(0))
    np.testing.assert_array_equal(layer.data, before)


def test_a_checked_slice_can_be_unchecked(panel, layer, viewer):
    viewer.dims.set_point(0, 0)
    press(layer, "K")
    assert panel.session.review[0] == "checked"
    press(layer, "K")
    assert panel.session.review[0] == "unseen"
    panel.session.review.correct(0, 1)
    press(layer, "K")
    assert panel.session.review[0] == "corrected"


def test_numbers_are_copied_as_csv(panel):
    panel.class_buttons.csv.click()
    header, *rows = QApplication.clipboard().text().splitlines()
    assert header.startswith("label,name,size (mL),voxels,change,islands")
    assert len(rows) == 2
    assert rows[0].split(",")[:2] == ["1", "label 1"]
