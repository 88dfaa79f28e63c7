"""The device line says what the engine said, and nothing before."""

from __future__ import annotations

import threading

from napari_medurwkv.errors import DeviceError
from napari_medurwkv.widgets.device_line import DeviceLine


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
