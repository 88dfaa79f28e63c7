"""The small parts: button, badge, table, device line, options, packed masks, threads."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medurwkv.errors import DeviceError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.measure import ClassMeasure
from napari_medurwkv.widgets.background import in_background
from napari_medurwkv.widgets.class_table import ClassTable, format_size
from napari_medurwkv.widgets.device_line import DeviceLine
from napari_medurwkv.widgets.geometry_badge import GeometryBadge
from napari_medurwkv.widgets.original import PackedLabels
from napari_medurwkv.widgets.removal import call_on_removal
from napari_medurwkv.widgets.run_button import RunButton, remaining_time
from napari_medurwkv.widgets.run_options import RunOptions
from napari_medurwkv.widgets.settings import Preferences
from napari_medurwkv.widgets.warm_up import warm_up


@pytest.mark.parametrize(
    ("fraction", "seconds", "words"),
    [(0, 3, ""), (0.5, 12, "0:12"), (0.25, 100, "5:00"), (0.01, 100, "2:45:00")],
)
def test_remaining_time(fraction, seconds, words):
    assert remaining_time(fraction, seconds) == words


def test_button_segments_then_cancels(qtbot):
    button = RunButton()
    qtbot.addWidget(button)
    with qtbot.waitSignal(button.segment_clicked):
        button.click()
    button.show_progress(0.42, 8.7)
    assert button.text() == "Cancel   42%   0:12 left"
    with qtbot.waitSignal(button.cancel_clicked):
        button.click()
    button.show_cancelling()
    assert not button.isEnabled()


@pytest.mark.parametrize(
    ("geometry", "text"),
    [
        (
            Geometry.from_affine(np.diag([-1, 1, 2, 1.0]), (4, 5, 6)),
            "LAS, 1 × 1 × 2 mm · known",
        ),
        (Geometry.plain((4, 5)), "1 × 1 px · assumed"),
        (Geometry.plain((4, 5), (0.65, 0.65), "um"), "0.65 × 0.65 µm · assumed"),
    ],
)
def test_badge(qtbot, geometry, text):
    badge = GeometryBadge()
    qtbot.addWidget(badge)
    badge.show_geometry(geometry)
    assert badge.text == text


@pytest.mark.parametrize(
    ("size", "unit", "text"),
    [
        (0.1234, "mL", "0.123 mL"),
        (3.456, "mL", "3.46 mL"),
        (34.56, "mL", "34.6 mL"),
        (1234.5, "mL", "1\u202f234 mL"),
        (12345, "px", "12\u202f345 px"),
    ],
)
def test_sizes_are_short(size, unit, text):
    assert format_size(size, unit) == text


def test_table_is_as_high_as_its_rows(qtbot):
    table = ClassTable()
    qtbot.addWidget(table)
    one = ClassMeasure(1, "a", "#ff0000", 10, 10.0, "px")
    table.show_measures((one,))
    low = table.height()
    table.show_measures((one, one, one))
    assert table.height() > low
    assert table.rows()[0] == ("a", "10 px", "10")
    assert table.horizontalHeaderItem(2).text() == "Pixels"


def test_device_line_waits_for_the_engine(qtbot, engine):
    line = DeviceLine()
    qtbot.addWidget(line)
    line.ask(engine, "auto")
    assert line.text == "Device: checking…"
    qtbot.waitUntil(lambda: not line.checking)
    assert line.text == "Device: Toy CPU, 2 threads"
    line.ask(engine, "cuda")
    qtbot.waitUntil(lambda: not line.checking)
    assert line.text == "Device: CUDA was asked for, but there is none; choose cpu."


def test_late_answer_does_not_overwrite_a_newer_one(qtbot, engine):
    release = threading.Event()

    class Slow:
        def device_report(self, device):
            release.wait(5)
            raise DeviceError("old answer")

    line = DeviceLine()
    qtbot.addWidget(line)
    line.ask(Slow(), "auto")
    line.ask(engine, "cpu")
    qtbot.waitUntil(lambda: not line.checking)
    release.set()
    qtbot.wait(50)
    assert "Toy CPU" in line.text


def test_options_offer_what_the_model_can(qtbot, models):
    options = RunOptions(Preferences(device="cpu", overlap=0.75))
    qtbot.addWidget(options)
    assert (options.device, options.overlap) == ("cpu", 0.75)
    options.show_card(models.entries[0].card)
    options.set_instances(True)
    assert not options.instances
    options.show_card(models.entries[1].card)
    assert options.instances


def test_packed_masks_count_what_changed():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, (40, 300, 300)).astype(np.uint8)
    packed = PackedLabels.pack(labels)
    assert packed.count_changes(labels) == 0
    labels[0, 0, :3] += 1
    labels[-1, -1, -1] += 1
    assert packed.count_changes(labels) == 4
    assert packed.count_changes(labels.astype(np.int32)) == 4
    with pytest.raises(ValueError, match="shape"):
        packed.count_changes(labels[1:])


def test_task_reports_although_nobody_holds_it(qtbot):
    outcomes = []
    in_background(lambda: 7, outcomes.append)
    qtbot.waitUntil(lambda: bool(outcomes))
    assert outcomes[0].value == 7


def test_task_hands_its_error_over(qtbot):
    outcomes = []
    in_background(lambda: 1 / 0, outcomes.append)
    qtbot.waitUntil(lambda: bool(outcomes))
    assert isinstance(outcomes[0].error, ZeroDivisionError)


def test_abandoned_task_is_silent(qtbot):
    outcomes = []
    task = in_background(lambda: time.sleep(0.05), outcomes.append)
    task.abandon()
    qtbot.wait(150)
    assert outcomes == []


def test_removal_is_noticed_once_and_hiding_is_not(qtbot):
    house, content = QWidget(), QWidget()
    qtbot.addWidget(house)
    layout = QVBoxLayout(house)
    calls = []
    call_on_removal(content, lambda: calls.append(1))
    layout.addWidget(content)
    house.show()
    house.hide()
    assert calls == []
    content.setParent(None)
    content.close()
    assert calls == [1]


def test_warm_up_needs_no_window():
    warm_up()
