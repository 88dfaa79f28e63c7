"""The house keeps its rules: style, types, direction of imports, no heavy start."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = [
    "kernels",
    *(
        f"src/napari_medurwkv/{room}"
        for room in (
            "__init__.py",
            "checkpoints",
            "correction",
            "errors.py",
            "export",
            "geometry.py",
            "inference",
            "io",
            "measure",
            "models",
            "provenance.py",
            "samples",
        )
    ),
]


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_style():
    run("ruff", "check", "--no-cache", ".")


def test_format():
    run("ruff", "format", "--no-cache", "--check", ".")


def test_types_of_the_core():
    run("mypy", *CORE)


def test_arrows_point_one_way():
    code = "import sys; from importlinter.cli import lint_imports_command as c; c()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module", ["napari_medurwkv", "napari_medurwkv.cli", "napari_medurwkv.geometry"]
)
def test_starting_costs_no_torch_and_no_qt(module):
    code = (
        f"import sys, {module}; "
        "heavy = {'torch', 'qtpy', 'napari', 'lightning', 'monai'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_base_installation_brings_no_qt_binding_and_no_napari_bundle():
    base = [r for r in requires("napari-medurwkv") or [] if "extra ==" not in r]
    assert base
    for requirement in base:
        for word in ("napari[", "pyqt", "pyside"):
            assert word not in requirement.lower()


def test_manifest_at_the_root_is_the_one_in_the_package():
    assert (ROOT / "napari.yaml").is_symlink()
    assert (ROOT / "napari.yaml").resolve() == (
        ROOT / "src/napari_medurwkv/napari.yaml"
    )


def test_no_file_outgrows_its_room():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("src", "kernels")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert not long


def test_there_is_one_version():
    import napari_medurwkv

    assert napari_medurwkv.__version__ == version("napari-medurwkv")
