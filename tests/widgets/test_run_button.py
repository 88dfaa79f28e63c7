"""The button: Segment, then Cancel with percentage and remaining time."""

from __future__ import annotations

import pytest

from napari_medurwkv.widgets.run_button import RunButton, remaining_time


@pytest.mark.parametrize(
    ("fraction", "seconds", "words"),
    [
        (0, 3, ""),
        (0.5, 12, "0:12"),
        (0.25, 100, "5:00"),
        (0.01, 100, "2:45:00"),
        (0.5, 61, "1:10"),
    ],
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
