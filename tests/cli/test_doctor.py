from __future__ import annotations

import importlib.metadata
import json
import sys

import pytest
from napari_medurwkv.kernels import Backend

from napari_medurwkv.cli import checks
from napari_medurwkv.inference import DeviceChoice


@pytest.fixture
def found(monkeypatch):
    """Put other findings in place of the real ones."""

    def put(*these):
        monkeypatch.setattr(checks, "examine", lambda: iter(these))

    return put


def test_a_sound_installation(medurwkv, embedded, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    document = json.loads(medurwkv("doctor", "--json").stdout)
    assert document["works"]
    by_name = {check["name"]: check for check in document["checks"]}
    assert {"torch", "Device", "Kernels", "Qt", "napari", "Screen"} <= set(by_name)
    assert by_name["Model nuclei"]["text"].startswith("loads and segments")
    assert by_name["Model brain-tissue"]["status"] == "ok"


def test_what_is_broken_is_named_with_its_repair(medurwkv, found):
    found(
        checks.Check("torch", "problem", "is [not] there", "pip install torch", True),
        checks.Check("napari", "note", "is not there", 'pip install "x[all]"'),
    )
    answer = medurwkv("doctor", code=1)
    assert "is [not] there" in answer.stdout
    assert "Segmentation does not work." in answer.stdout
    assert "Repair torch: pip install torch\n" in answer.stdout
    assert 'Repair napari: pip install "x[all]"\n' in answer.stdout
    assert not json.loads(medurwkv("doctor", "--json", code=1).stdout)["works"]


def test_notes_alone_are_no_failure(medurwkv, found):
    found(checks.Check("Screen", "note", "none"))
    assert "Segmentation works." in medurwkv("doctor").stdout


def test_missing_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    check = checks._check_torch()
    assert check.status == "problem"
    assert check.essential
    assert check.fix == checks.TORCH


def test_old_torch(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    assert "older than 2.10" in checks._check_torch().text


@pytest.mark.parametrize(("driver", "build"), [("580.65", "cu130"), ("535", "cu126")])
def test_an_idle_gpu_is_noticed(monkeypatch, driver, build):
    choice = DeviceChoice("cpu", "a processor; built without CUDA", "auto")
    monkeypatch.setattr("napari_medurwkv.inference.choose_device", lambda name: choice)
    monkeypatch.setattr(checks, "_nvidia_driver", lambda: driver)
    check = checks._check_device()
    assert check.status == "note"
    assert f"NVIDIA driver {driver}" in check.text
    assert check.fix.endswith(build)


def test_a_cpu_alone_is_fine(monkeypatch):
    choice = DeviceChoice("cpu", "a processor", "auto")
    monkeypatch.setattr("napari_medurwkv.inference.choose_device", lambda name: choice)
    monkeypatch.setattr(checks, "_nvidia_driver", lambda: "")
    assert checks._check_device().status == "ok"


def test_slow_kernels_are_told_with_their_reason(monkeypatch):
    monkeypatch.setenv("MEDURWKV_KERNELS", "portable")
    check = next(checks._check_kernels())
    assert check.status in ("note", "ok")
    assert "portable" in check.text
    monkeypatch.setenv("MEDURWKV_KERNELS", "steam")
    assert next(checks._check_kernels()).status == "problem"


def test_the_kernels_of_each_device_are_told(monkeypatch):
    monkeypatch.delenv("MEDURWKV_KERNELS", raising=False)
    choice = DeviceChoice("cuda:0", "a GPU", "auto")
    monkeypatch.setattr("napari_medurwkv.inference.choose_device", lambda _: choice)
    missing = "cuda.core is not installed"
    backends = {"cuda:0": Backend("portable", missing), "cpu": Backend("native", "it")}
    monkeypatch.setattr("napari_medurwkv.kernels.backend_for", backends.get)
    gpu, cpu = checks._check_kernels()
    assert gpu.name == "Kernels"
    assert gpu.status == "note"
    assert missing in gpu.text
    assert "[cuda]" in gpu.fix
    assert (cpu.name, cpu.status) == ("Kernels on cpu", "ok")
    assert cpu.text == "cpu: native, it"


def test_packages_that_are_not_there(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert checks._check_napari().fix == checks.ALL
    dicom, zarr, surfaces, training = checks._check_extras()
    assert "highdicom" in dicom.text
    assert dicom.fix == 'pip install "napari-medurwkv[dicom]"'
    assert zarr.status == dicom.status == surfaces.status == "note"
    assert "lightning, monai, PyYAML" in training.text


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("qtpy.QtBindingsNotFoundError: No Qt bindings could be found", checks.ALL),
        (
            "From 6.5.0, xcb-cursor0 or libxcb-cursor0 is needed",
            "sudo apt install libxcb-cursor0",
        ),
        (
            "ImportError: libEGL.so.1: cannot open shared object file",
            "sudo apt install libgl1 libegl1",
        ),
    ],
)
def test_a_qt_that_cannot_open_a_window(monkeypatch, said, fix):
    program = f"import sys; sys.exit({said!r})"
    monkeypatch.setattr(checks, "WINDOW", program)
    qt = next(check for check in checks._check_window() if check.name == "Qt")
    assert qt.status == "note"
    assert qt.fix == fix
