"""What a run will take is said beside the button, for what is chosen now."""

from __future__ import annotations

from dataclasses import replace

import pytest


@pytest.fixture
def ready(viewer, panel, volume, qtbot):
    viewer.add_image(volume, name="head", scale=(2, 1, 1), units="mm")
    qtbot.waitUntil(lambda: panel.ready)
    return panel


def test_nothing_is_said_without_an_image(panel, engine, qtbot):
    qtbot.wait(400)
    assert panel.forecast.isHidden()
    assert not engine.questions


def test_time_and_memory_are_said_before_the_run(ready, engine, qtbot, volume):
    qtbot.waitUntil(lambda: bool(ready.forecast.text))
    assert ready.forecast.text == "About 12 s, 0.5 GB of memory."
    ((shape, dtype, model, options),) = engine.questions
    assert (shape, dtype) == (volume.shape, "float32")
    assert model == ready.models.entry.path
    assert options["device"] == "auto"
    assert not engine.calls


def test_another_choice_is_asked_for_once(ready, engine, qtbot):
    qtbot.waitUntil(lambda: bool(ready.forecast.text))
    overlap = ready.options._overlap
    overlap.setCurrentIndex(overlap.findData(0.75))
    assert not ready.forecast.text  # the old number is no answer to the new choice
    qtbot.waitUntil(lambda: bool(ready.forecast.text))
    assert [q[3]["overlap"] for q in engine.questions] == [None, 0.75]
    overlap.setCurrentIndex(0)
    assert ready.forecast.text
    assert len(engine.questions) == 2


def test_what_cannot_fit_is_said_with_the_way_out(viewer, panel, engine, volume, qtbot):
    engine.foresight = replace(engine.foresight, problem="Segment a part.")
    viewer.add_image(volume)
    qtbot.waitUntil(lambda: "Segment a part." in panel.forecast.text)
    assert "0.5 GB" in panel.forecast.text


def test_what_a_run_would_end_with_is_said(viewer, panel, engine, volume, qtbot):
    engine.foresight = None
    viewer.add_image(volume)
    qtbot.waitUntil(lambda: panel.forecast.text == "There is no such image.")


def test_a_busy_engine_is_asked_again(viewer, panel, engine, volume, qtbot):
    engine.busy = 2
    viewer.add_image(volume)
    qtbot.waitUntil(lambda: bool(panel.forecast.text))
    assert panel.forecast.text == "About 12 s, 0.5 GB of memory."
    assert len(engine.questions) == 3


def test_no_forecast_during_a_run(ready, engine, segment, qtbot):
    qtbot.waitUntil(lambda: bool(ready.forecast.text))
    segment(ready)
    qtbot.wait(400)
    assert len(engine.questions) == 1
    assert ready.forecast.text
