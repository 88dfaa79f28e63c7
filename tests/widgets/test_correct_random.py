"""A minute's worth of benchmarks/correction_random.py, without a window."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from qtpy.QtWidgets import QApplication

from napari_medurwkv.widgets.correct_panel import CorrectPanel

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/correction_random.py"


@pytest.mark.parametrize("seed", [1, 2])
def test_random_actions_agree_with_a_simple_model(viewer, tmp_path, qtbot, seed):
    spec = importlib.util.spec_from_file_location("correction_random", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    panel = CorrectPanel(viewer, tmp_path)
    qtbot.addWidget(panel)
    panel.start()
    monkey = script.Monkey(viewer, panel, QApplication.processEvents, seed)
    for _ in range(60):
        monkey.act()
    panel.shut_down()
