"""Axes, channels and frames are chosen, and the mask lies where the image lies."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.errors import ImageError
from napari_medurwkv.widgets.axes_choice import AxesChoice


@pytest.fixture
def film(volume):
    """Shape (T, C, Z, Y, X); every frame and channel has a mask of its own."""
    return np.stack(
        [np.stack([volume + 0.2 * t, volume - 0.3 * t - 0.1]) for t in range(3)]
    )


@pytest.fixture
def shown(viewer, panel, film, qtbot):
    viewer.add_image(film, name="film", scale=(9, 1, 2, 1, 1))
    qtbot.waitUntil(lambda: panel.ready)
    return panel


def test_nothing_to_choose_is_not_shown(viewer, panel, qtbot):
    viewer.add_image(np.random.default_rng(0).random((30, 40)))
    qtbot.waitUntil(lambda: panel.images.picture is not None)
    assert panel.images.axes.isHidden()
    assert panel.images.axes.order.letters == "YX"


def test_five_axes_are_times_and_channels(shown):
    axes = shown.images.axes
    assert axes.order.letters == "TCZYX"
    assert not axes.isHidden()
    assert shown.images.frame == 1  # the middle one
    assert shown.images.dimensions == 3


def test_this_frame_of_a_channel(viewer, shown, film, engine, segment, masks, qtbot):
    shown.images.axes.choose("TCZYX", (1,))
    viewer.dims.set_current_step(0, 2)
    segment(shown)
    (mask,) = masks()
    expected = engine.answer(film[2, 1])
    assert mask.data.shape == (1, 1, *expected.shape)
    np.testing.assert_array_equal(mask.data[0, 0], expected)
    # It is drawn over what it was made of.
    layer = viewer.layers["film"]
    np.testing.assert_allclose(
        mask.data_to_world((0, 0, 3, 4, 5)), layer.data_to_world((2, 1, 3, 4, 5))
    )
    note = mask.metadata["medurwkv"]["record"]["input"]["notes"]
    assert any("TCZYX, channel 1 was taken" in text for text in note)


def test_all_frames_one_after_the_other(viewer, shown, film, engine, segment, masks):
    shown.images.axes.choose_frames(True)
    assert shown.images.frame_text.startswith("All 3 frames")
    segment(shown)
    (mask,) = masks()
    assert mask.data.shape == (3, 1, *film.shape[2:])
    for frame in range(3):
        expected = engine.answer(film[frame, 0])
        np.testing.assert_array_equal(mask.data[frame, 0], expected)
    assert len(engine.calls) == 3
    block = mask.metadata["medurwkv"]
    assert block["frame"] is None
    assert block["complete"]
    assert len(block["records"]) == 3
    assert "Done in" in shown.status


def test_the_forecast_counts_the_frames(shown, qtbot):
    qtbot.waitUntil(lambda: "12 s" in shown.forecast.text)
    shown.images.axes.choose_frames(True)
    qtbot.waitUntil(lambda: "36 s" in shown.forecast.text)


def test_cancelling_keeps_the_finished_frames(shown, film, engine, masks, qtbot):
    engine.gated = True
    shown.images.axes.choose_frames(True)
    qtbot.waitUntil(lambda: shown.ready)
    shown.start()
    engine.let(engine.windows)
    qtbot.waitUntil(lambda: len(engine.calls) == 2)
    shown.cancel()
    engine.let(20)
    qtbot.waitUntil(lambda: not shown.running)
    (mask,) = masks()
    np.testing.assert_array_equal(mask.data[0, 0], engine.answer(film[0, 0]))
    assert not mask.data[2].any()
    block = mask.metadata["medurwkv"]
    assert not block["complete"]
    assert 1 / 3 <= block["fraction"] < 2 / 3


def test_a_failing_frame_keeps_the_finished_ones(shown, engine, masks, qtbot):
    engine.error, engine.error_after = ImageError("This frame is empty."), 0
    plain = engine.segment

    def segment(*args, **options):
        engine.error_after = 99 if len(engine.calls) == 0 else 0
        return plain(*args, **options)

    engine.segment = segment
    shown.images.axes.choose_frames(True)
    qtbot.waitUntil(lambda: shown.ready)
    shown.start()
    qtbot.waitUntil(lambda: not shown.running)
    (mask,) = masks()
    assert mask.data[0].any()
    assert not mask.data[1].any()
    assert "failed" in mask.name


def test_three_channels_become_those_of_the_model(viewer, panel, volume, qtbot):
    plane = volume[0]
    image = np.stack([plane, plane + 1, plane + 2])
    viewer.add_image(image)
    axes = panel.images.axes
    assert axes.order.letters == "ZYX"
    assert "choose CYX" in axes.doubt
    axes.choose("CYX", (0, 1, 2))
    assert not axes.doubt
    qtbot.waitUntil(lambda: panel.images.picture is not None)
    read = panel.images.picture.read()
    assert read.rgb
    np.testing.assert_array_equal(read.array[:], np.moveaxis(image, 0, -1))


def test_as_many_channels_as_the_model_has(viewer, panel, volume, qtbot):
    viewer.add_image(np.stack([volume, volume]), name="two")
    panel.images.axes.choose("CZYX", (0, 1))
    qtbot.waitUntil(lambda: "2 channels are chosen and" in panel.hint)
    panel.images.axes.choose("CZYX", (1,))
    qtbot.waitUntil(lambda: panel.ready)


def test_the_choice_is_that_of_the_layer(viewer, qtbot):
    choice = AxesChoice()
    qtbot.addWidget(choice)
    first = viewer.add_image(np.zeros((4, 5, 20, 20)))
    choice.show_layer(first)
    choice.choose("CZYX")
    choice.show_layer(first)
    assert choice.order.letters == "CZYX"
    choice.show_layer(viewer.add_image(np.zeros((4, 5, 20, 20))))
    assert choice.order.letters == "TZYX"
    choice.show_layer(None)
    assert choice.order is None
    assert choice.isHidden()
