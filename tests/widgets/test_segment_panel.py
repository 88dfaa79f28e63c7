"""The Segment panel, with an engine that does as it is told."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.errors import DeviceError
from napari_medurwkv.inference.engine_protocol import EngineError


def wait_for_windows(qtbot, panel, engine, count):
    """Let the gated engine do so many windows, and the panel notice it."""
    engine.let(count)
    share = f"{count / engine.windows:.0%}"
    qtbot.waitUntil(lambda: share in panel.button.text(), timeout=5000)


@pytest.fixture
def gated(engine):
    engine.gated = True
    return engine


@pytest.fixture
def started(viewer, panel, gated, volume, qtbot):
    """A run that waits before its first window."""
    viewer.add_image(volume, name="head")
    qtbot.waitUntil(lambda: panel.ready)
    panel.button.click()
    assert panel.running
    return panel


def test_empty_viewer_says_what_to_do(panel):
    assert not panel.ready
    assert "Open an image" in panel.hint


def test_one_click_gives_the_whole_mask(viewer, panel, segment, volume, engine, masks):
    viewer.add_image(volume, name="head")
    segment(panel)
    (mask,) = masks()
    assert mask.name == "head – Brain model"
    np.testing.assert_array_equal(mask.data, engine.answer(volume))
    assert mask.data.dtype == np.uint8
    assert mask.editable
    block = mask.metadata["medurwkv"]
    assert block["complete"]
    assert block["record"]["model"]["name"] == "brain"
    assert block["original"].count_changes(mask.data) == 0
    assert "Done in" in panel.status
    assert "Toy CPU" in panel.status
    assert panel.button.text() == "Segment"


def test_table_shows_volumes(viewer, panel, segment, volume, engine):
    viewer.add_image(volume, scale=(2, 1, 1), units="mm")
    segment(panel)
    ones = int((engine.answer(volume) == 1).sum())
    rows = panel.result.table.rows()
    assert [row[0] for row in rows] == ["grey matter", "white matter"]
    assert rows[0][1] == f"{ones * 2 / 1000:.2f} mL"
    assert rows[0][2].replace("\u202f", "") == str(ones)


def test_result_is_named_and_goes_with_its_mask(viewer, panel, segment, volume, masks):
    viewer.add_image(volume, name="head")
    segment(panel)
    (mask,) = masks()
    assert panel.result.name == "head – Brain model"
    mask.name = "mine"
    assert panel.result.name == "mine"
    viewer.layers.remove(mask)
    assert panel.result.isHidden()


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_mask_lies_on_its_image_whatever_the_transform(
    viewer, panel, segment, volume, masks
):
    image = viewer.add_image(
        volume,
        scale=(2, 0.5, 0.7),
        translate=(-5, 6, 7),
        rotate=(10, 20, 30),
        shear=(0.1, 0, 0.2),
        affine=np.diag([1, 2, 3, 1.0]),
        units="mm",
        axis_labels=("z", "y", "x"),
    )
    segment(panel)
    (mask,) = masks()
    for index in ((0, 0, 0), (7, 19, 23), (3, 0, 11)):
        np.testing.assert_allclose(
            mask.data_to_world(index), image.data_to_world(index)
        )
    assert mask.units == image.units
    assert mask.axis_labels == image.axis_labels


def test_axis_that_is_drawn_backwards_keeps_its_mask(
    viewer, panel, segment, volume, engine, masks
):
    viewer.add_image(volume, scale=(1, -1, 1))
    segment(panel)
    (mask,) = masks()
    np.testing.assert_array_equal(mask.data, engine.answer(volume))
    image = engine.calls[0][0]
    np.testing.assert_array_equal(image.array, volume[:, ::-1])


def test_colour_image(viewer, panel, segment, engine, masks):
    picture = np.zeros((40, 50, 3), np.uint8)
    picture[10:20, 5:30] = 2
    viewer.add_image(picture, rgb=True, name="slide")
    panel.models.choose("stain")
    segment(panel)
    (mask,) = masks()
    np.testing.assert_array_equal(mask.data, engine.answer(picture))
    assert engine.calls[0][0].rgb


def test_model_follows_the_dimensions_of_the_image(viewer, panel, qtbot, volume):
    viewer.add_image(volume)
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.models.entry.name == "brain"
    viewer.add_image(volume[0])
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.models.entry.name == "cells"


def test_image_that_does_not_fit_the_model_is_refused_in_a_sentence(
    viewer, panel, qtbot, volume
):
    viewer.add_image(volume[0])
    qtbot.waitUntil(lambda: panel.ready)
    panel.models.choose("brain")
    assert not panel.ready
    assert "2D" in panel.hint
    panel.models.choose("stain")
    assert "channels" in panel.hint


def test_image_with_too_many_axes_is_refused(viewer, panel):
    viewer.add_image(np.zeros((2, 1, 2, 2, 4, 4)))
    assert not panel.ready
    assert "6 axes" in panel.hint


def test_series_is_segmented_at_the_frame_shown(
    viewer, panel, segment, volume, engine, masks
):
    series = np.stack([volume - 1, volume, volume + 1])
    image = viewer.add_image(
        series, scale=(5, 2, 1, 1), translate=(100, 1, 2, 3), name="film"
    )
    viewer.dims.set_point(0, 100 + 2 * 5)
    segment(panel)
    (mask,) = masks()
    np.testing.assert_array_equal(mask.data, engine.answer(volume + 1)[None])
    np.testing.assert_allclose(
        mask.data_to_world((0, 3, 4, 5)), image.data_to_world((2, 3, 4, 5))
    )
    assert mask.metadata["medurwkv"]["frame"] == 2
    assert panel.images.frame_text == "Frame 3 of 3: the one shown."


def test_multiscale_image_is_segmented_at_full_resolution(
    viewer, panel, segment, engine, masks
):
    picture = np.arange(64 * 64, dtype=np.float32).reshape(64, 64) / 2000 - 0.5
    viewer.add_image([picture, picture[::2, ::2]], multiscale=True)
    segment(panel)
    (mask,) = masks()
    np.testing.assert_array_equal(mask.data, engine.answer(picture))


def test_mask_fills_in_while_windows_finish(started, gated, qtbot, masks, volume):
    (mask,) = masks()
    assert not mask.data.any()
    assert not mask.editable
    wait_for_windows(qtbot, started, gated, 2)
    whole = gated.answer(volume)
    np.testing.assert_array_equal(mask.data[:4], whole[:4])
    assert not mask.data[4:].any()
    assert "Cancel   50%" in started.button.text()
    assert "left" in started.button.text()


def test_screen_is_refreshed_while_windows_finish(started, gated, qtbot, masks):
    (mask,) = masks()
    shown = []
    mask.events.set_data.connect(lambda event: shown.append(event))
    wait_for_windows(qtbot, started, gated, 1)
    qtbot.waitUntil(lambda: bool(shown), timeout=3000)


def test_image_cannot_be_deleted_during_the_run(started, gated, qtbot, viewer):
    image = viewer.layers[0]
    assert image.locked
    gated.let(4)
    qtbot.waitUntil(lambda: not started.running)
    assert not image.locked


def test_cancelled_run_leaves_its_part_under_a_name_that_says_so(
    started, gated, qtbot, masks, volume
):
    wait_for_windows(qtbot, started, gated, 2)
    started.button.click()
    assert started.button.text() == "Cancelling…"
    qtbot.waitUntil(lambda: not started.running)
    (mask,) = masks()
    assert mask.name == "head – Brain model (partial 50%)"
    np.testing.assert_array_equal(mask.data[:4], gated.answer(volume)[:4])
    block = mask.metadata["medurwkv"]
    assert not block["complete"]
    assert block["fraction"] == 0.5
    assert "Cancelled at 50%" in started.status
    assert started.ready


def test_cancelled_before_the_first_window_leaves_nothing(started, qtbot, masks):
    started.button.click()
    qtbot.waitUntil(lambda: not started.running)
    assert masks() == []
    assert "no mask" in started.status


def test_part_is_dropped_where_the_user_wants_that(
    viewer, make_panel, gated, volume, qtbot, masks, monkeypatch
):
    from napari_medurwkv.widgets import segment_panel
    from napari_medurwkv.widgets.settings import Preferences

    monkeypatch.setattr(
        segment_panel, "read_preferences", lambda: Preferences(keep_partial=False)
    )
    panel = make_panel()
    viewer.add_image(volume)
    qtbot.waitUntil(lambda: panel.ready)
    panel.start()
    wait_for_windows(qtbot, panel, gated, 2)
    panel.cancel()
    qtbot.waitUntil(lambda: not panel.running)
    assert masks() == []


def test_deleting_the_mask_withdraws_the_run(started, gated, qtbot, viewer, masks):
    wait_for_windows(qtbot, started, gated, 1)
    viewer.layers.remove(masks()[0])
    qtbot.waitUntil(lambda: not started.running)
    assert masks() == []
    assert gated.idle.is_set()
    assert not viewer.layers[0].locked


def test_failure_without_any_result_leaves_no_layer(
    viewer, panel, engine, segment, volume, masks
):
    engine.error = DeviceError("CUDA was asked for, but there is none; choose cpu.")
    viewer.add_image(volume)
    segment(panel)
    assert masks() == []
    assert panel.status == "CUDA was asked for, but there is none; choose cpu."
    assert panel.ready


def test_failure_half_way_keeps_the_part_marked_as_failed(
    viewer, panel, engine, qtbot, volume, masks
):
    engine.error, engine.error_after = EngineError("The engine died.", "traceback"), 2
    engine.gated = True
    viewer.add_image(volume, name="head")
    qtbot.waitUntil(lambda: panel.ready)
    panel.start()
    wait_for_windows(qtbot, panel, engine, 2)
    engine.let(1)
    qtbot.waitUntil(lambda: not panel.running)
    (mask,) = masks()
    assert mask.name == "head – Brain model (failed 50%)"
    assert not mask.metadata["medurwkv"]["complete"]
    assert panel.status.startswith("The engine died.")


def test_earlier_mask_comes_back_when_the_new_run_fails(
    viewer, panel, engine, segment, volume, masks
):
    viewer.add_image(volume)
    segment(panel)
    (first,) = masks()
    engine.error = DeviceError("No.")
    segment(panel)
    assert masks() == [first]
    assert first.visible


def test_second_run_makes_a_new_layer_and_leaves_edits_alone(
    viewer, panel, segment, volume, masks, engine
):
    viewer.add_image(volume)
    segment(panel)
    (first,) = masks()
    first.data_setitem((np.array([0]), np.array([1]), np.array([2])), 2)
    before = first.data.copy()
    segment(panel)
    old, new = masks()
    assert old is first
    np.testing.assert_array_equal(old.data, before)
    np.testing.assert_array_equal(new.data, engine.answer(volume))
    # Both on screen, the old one would pass for the new one.
    assert not old.visible
    assert "hidden" in panel.status
    old.undo()
    np.testing.assert_array_equal(new.data, engine.answer(volume))


def test_renamed_image_is_followed(viewer, panel, qtbot, volume, gated):
    image = viewer.add_image(volume, name="a")
    viewer.add_image(volume + 9, name="b")
    panel.images.choose(image)
    qtbot.waitUntil(lambda: panel.ready)
    image.name = "renamed"
    panel.start()
    image.name = "renamed again"
    gated.let(4)
    qtbot.waitUntil(lambda: not panel.running)
    sent = gated.calls[0][0]
    np.testing.assert_array_equal(sent.array, volume)


def test_changed_image_is_looked_at_again(viewer, panel, segment, volume, engine):
    image = viewer.add_image(volume)
    segment(panel)
    image.data = np.concatenate([volume, volume])
    assert not panel.ready
    segment(panel)
    assert engine.calls[1][0].array.shape == (16, 20, 24)


def test_separate_objects_are_numbered_and_named(
    viewer, panel, segment, engine, masks, qtbot
):
    picture = np.ones((16, 16), np.float32)
    viewer.add_image(picture, name="dish")
    qtbot.waitUntil(lambda: panel.ready)
    panel.options.set_instances(True)
    segment(panel)
    (mask,) = masks()
    assert mask.data.dtype == np.int32
    assert mask.data.max() == 16
    assert list(mask.features["name"])[:2] == ["background", "grey matter 1"]
    assert panel.result.table.rows()[0][2] == "16"
    assert panel.result.table.horizontalHeaderItem(2).text() == "Objects"


def test_pointer_names_the_class(viewer, panel, segment, volume, masks):
    viewer.add_image(volume)
    segment(panel)
    (mask,) = masks()
    z, y, x = np.argwhere(mask.data == 2)[0]
    viewer.dims.set_point(0, z)
    status = mask.get_status(position=(z, y, x), dims_displayed=[1, 2], world=True)
    assert "white matter" in status["coordinates"]


def test_classes_have_the_colours_of_the_card(viewer, panel, segment, volume, masks):
    viewer.add_image(volume)
    segment(panel)
    (mask,) = masks()
    np.testing.assert_allclose(
        mask.get_color(1), [0x3B / 255, 0x82 / 255, 0xF6 / 255, 1], atol=1e-6
    )
    assert mask.get_color(77) is None or mask.get_color(77)[3] == 0


def test_edits_are_measured(viewer, panel, segment, volume, masks, qtbot):
    viewer.add_image(volume)
    segment(panel)
    (mask,) = masks()
    before = panel.result.table.rows()[1][2]
    mask.data_setitem(tuple(np.argwhere(mask.data == 0)[:7].T), 2)
    expected = str(int(before.replace("\u202f", "")) + 7)
    qtbot.waitUntil(
        lambda: panel.result.table.rows()[1][2].replace("\u202f", "") == expected,
        timeout=4000,
    )
    mask.undo()
    qtbot.waitUntil(lambda: panel.result.table.rows()[1][2] == before, timeout=4000)


def test_layer_is_segmented_as_soon_as_it_is_ready(viewer, panel, volume, qtbot, masks):
    viewer.add_image(volume - 9)
    image = viewer.add_image(volume, name="this one")
    panel.segment_layer(image)
    qtbot.waitUntil(lambda: bool(masks()) and not panel.running, timeout=5000)
    assert masks()[0].name.startswith("this one")


def test_shutting_down_stops_the_run_and_marks_the_part(
    started, gated, qtbot, masks, viewer
):
    wait_for_windows(qtbot, started, gated, 2)
    started.shut_down()
    assert gated.idle.wait(5)
    (mask,) = masks()
    assert mask.name.endswith("(stopped 50%)")
    assert mask.editable
    assert not viewer.layers[0].locked
    # Nothing listens any more: a change of the list must not wake the dead.
    viewer.add_image(np.zeros((4, 4)))
    viewer.layers.clear()


def test_controls_rest_during_the_run(started, gated, qtbot):
    assert not started.models.isEnabled()
    assert not started.images.isEnabled()
    gated.let(4)
    qtbot.waitUntil(lambda: not started.running)
    assert started.models.isEnabled()


def test_notice_is_in_sight(panel):
    from qtpy.QtWidgets import QLabel

    assert any(
        "Research use only" in label.text() for label in panel.findChildren(QLabel)
    )


def test_a_checkpoint_may_be_dropped_anywhere_on_the_panel(
    panel, qtbot, monkeypatch, tmp_path
):
    from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
    from qtpy.QtGui import QDragEnterEvent, QDropEvent
    from qtpy.QtWidgets import QApplication

    added = []
    monkeypatch.setattr(panel.models, "add_file", added.append)
    for name in ("scan.nii.gz", "net.pth"):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(tmp_path / name))])
        where = QPoint(5, 5)
        common = (
            Qt.DropAction.CopyAction,
            data,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        enter = QDragEnterEvent(where, *common)
        enter.ignore()
        QApplication.sendEvent(panel, enter)
        assert enter.isAccepted() == (name == "net.pth")
        if enter.isAccepted():
            QApplication.sendEvent(panel, QDropEvent(where.toPointF(), *common))
    assert added == [tmp_path / "net.pth"]
