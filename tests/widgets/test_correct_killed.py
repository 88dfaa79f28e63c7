"""Segment, paint, tools, undo and redo all, run again, kill -9, restart, recover."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_medurwkv.widgets.correct_panel import CorrectPanel

CHILD = Path(__file__).with_name("correct_session_child.py")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_session_is_recovered_byte_for_byte(tmp_path, viewer, qtbot):
    with subprocess.Popen(
        [sys.executable, str(CHILD), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        said = child.stdout.readline()
        child.kill()
        _, errors = child.communicate()
    assert said == "kept\n", errors
    panel = CorrectPanel(viewer, tmp_path / "journal")
    qtbot.addWidget(panel)
    qtbot.waitUntil(lambda: panel.recovery._task is None)
    assert len(panel.recovery.entries) == 1
    panel.recovery.recover()
    qtbot.waitUntil(lambda: panel.session is not None)
    mask = panel.session.mask
    np.testing.assert_array_equal(mask.array, np.load(tmp_path / "mask.npy"))
    np.testing.assert_array_equal(mask.marks, np.load(tmp_path / "marks.npy"))
    # What a person changed is still protected.
    assert mask.marks.any()
    panel.shut_down()
