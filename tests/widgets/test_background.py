"""Tasks in threads report, hand errors over, and can be forgotten."""

from __future__ import annotations

import time

from napari_medurwkv.widgets.background import in_background


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
