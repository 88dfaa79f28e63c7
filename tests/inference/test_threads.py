"""Threads wait patiently, unless the user has chosen otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from napari_medurwkv.inference.engine_child import EngineProcess
from napari_medurwkv.inference.threads import SPIN_COUNT, patient_threads

linux = pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP is Linux's")


@linux
def test_a_short_spin_is_set():
    assert patient_threads({"PATH": "/bin"}) == {"GOMP_SPINCOUNT": SPIN_COUNT}


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_the_users_choice_stays(name):
    assert patient_threads({name: "7"}) == {}


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_other_systems_are_left_alone(platform, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert patient_threads({}) == {}


ASK = """
import json, os
print(json.dumps({"say": os.environ.get("GOMP_SPINCOUNT")}), flush=True)
"""


@linux
@pytest.mark.parametrize(("chosen", "seen"), [(None, SPIN_COUNT), ("42", "42")])
def test_the_engine_process_starts_with_it(chosen, seen, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if chosen:
        monkeypatch.setenv("GOMP_SPINCOUNT", chosen)
    child = EngineProcess((sys.executable, "-c", ASK), tmp_path)
    try:
        assert child.receive(timeout=60) == {"say": seen}
    finally:
        child.kill()
        child.wait()


COMMAND_LINE = """
import os, sys
from napari_medurwkv.cli import main
sys.argv = ["medurwkv", "--version"]
try:
    main()
except SystemExit:
    pass
print(os.environ["GOMP_SPINCOUNT"], "torch" in sys.modules)
"""


@linux
def test_the_command_line_sets_it_before_torch_is_loaded():
    clean = {
        k: v
        for k, v in os.environ.items()
        if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMAND_LINE],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"{SPIN_COUNT} False"
