from __future__ import annotations

import subprocess
import sys

import pytest

import napari_medurwkv
from napari_medurwkv.cli import streams

COMMANDS = ("segment", "demo", "models", "inspect", "doctor", "train", "evaluate")


def test_help_loads_nothing_heavy():
    code = """
import sys
from napari_medurwkv.cli import main
sys.argv = ["medurwkv", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "qtpy", "napari", "nibabel", "scipy", "lightning", "PIL"}
    print("heavy:", heavy & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "segment", "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "heavy: set()" in done.stdout
    assert "--overlap" in done.stdout


def test_help_names_every_command(medurwkv):
    text = medurwkv("--help").stdout
    for command in COMMANDS:
        assert f"  {command}  " in text
        assert "Options:" in medurwkv(command, "--help").stdout


def test_version(medurwkv):
    assert medurwkv("--version").stdout == f"medurwkv {napari_medurwkv.__version__}\n"


@pytest.mark.parametrize(
    "words", [("nonsense",), ("segment",), ("segment", "a", "b", "--overlap", "much")]
)
def test_wrong_usage_exits_with_2(medurwkv, words):
    answer = medurwkv(*words, code=2)
    assert not answer.stdout
    assert "Usage" in answer.stderr


def test_an_interrupt_exits_with_130(medurwkv, monkeypatch):
    def interrupt(path, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_medurwkv.io.read_image", interrupt)
    answer = medurwkv("segment", "a.nii", "b.nii", code=130)
    assert answer.stderr == "Cancelled; nothing was written.\n"


def test_a_mistake_of_the_program_keeps_its_traceback(medurwkv, monkeypatch):
    monkeypatch.setattr("napari_medurwkv.checkpoints.catalogue", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        medurwkv("models")


def test_brackets_are_no_markup(capsys):
    from rich.table import Table

    table = Table()
    table.add_column("what")
    streams.add_row(table, "medurwkv[all] [red]x")
    streams.show_table(table)
    assert "medurwkv[all] [red]x" in capsys.readouterr().out


def test_the_program_is_run_by_its_module():
    done = subprocess.run(
        [sys.executable, "-m", "napari_medurwkv.cli", "inspect", "no.safetensors"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert not done.stdout
    assert done.stderr.startswith("Error: There is no checkpoint file")
    assert done.stderr.count("\n") == 1
