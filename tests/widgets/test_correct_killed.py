"""Segment, paint, tools, undo and redo all, run again, kill -9, restart, recover."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "correction_session.py"

pytestmark = pytest.mark.slow


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_session_in_a_window_is_recovered_byte_for_byte(tmp_path):
    """A slab of the brain, segmented with the embedded model, in real windows."""
    out = tmp_path / "result.json"
    command = [sys.executable, str(SCRIPT), "--slices", "3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["checks"] > 30
    assert result["voxels that differ"] == 0
