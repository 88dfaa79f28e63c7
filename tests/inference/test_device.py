"""The device that was chosen, and why."""

from __future__ import annotations

import pytest
import torch

from napari_medurwkv.errors import DeviceError
from napari_medurwkv.inference import choose_device, device


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None, raising=False)
    monkeypatch.setattr(device, "_nvidia_driver", lambda: False)
    monkeypatch.setattr(device, "_mps_problem", lambda: "MPS exists elsewhere")
    monkeypatch.setattr(device.sys, "platform", "linux")


@pytest.fixture
def cuda(monkeypatch, no_cuda):
    """A torch with CUDA; tests say what it finds."""
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def test_cpu_is_named_with_its_threads():
    choice = choose_device("cpu")
    assert choice.device == "cpu"
    assert choice.requested == "cpu"
    assert f"{torch.get_num_threads()} thread" in choice.description
    assert choice.description.endswith("as asked for")


def test_auto_says_why_there_is_no_gpu(no_cuda):
    choice = choose_device("auto")
    assert choice.device == "cpu"
    assert "no GPU is used: this PyTorch was built without CUDA" in choice.description


def test_auto_says_that_the_driver_is_idle(no_cuda, monkeypatch):
    monkeypatch.setattr(device, "_nvidia_driver", lambda: True)
    assert "although an NVIDIA driver" in choose_device().description


def test_auto_says_that_no_driver_was_found(cuda):
    assert "no NVIDIA driver was found" in choose_device().description


def test_auto_hands_on_what_torch_warns_of(cuda, monkeypatch):
    import warnings

    def old():
        warnings.warn("The NVIDIA driver is too old. Please update.", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", old)
    assert "The NVIDIA driver is too old" in choose_device().description


def test_gpu_that_does_not_answer_is_not_used(cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def broken(*_, **__):
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", broken)
    choice = choose_device()
    assert choice.device == "cpu"
    assert "does not answer (no kernel image is available)" in choice.description


def test_auto_takes_mps_where_it_is(no_cuda, monkeypatch):
    monkeypatch.setattr(device, "_mps_problem", lambda: "")
    assert choose_device("auto").device == "mps"
    assert choose_device("mps").device == "mps"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3", "CUDA"])
def test_absent_cuda_is_an_error_when_asked_for(name, no_cuda):
    with pytest.raises(DeviceError, match="CUDA was asked for, but this PyTorch"):
        choose_device(name)


def test_number_of_the_gpu_must_exist(cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="only 2 CUDA devices"):
        choose_device("cuda:2")


def test_absent_mps_is_an_error_when_asked_for(no_cuda):
    with pytest.raises(DeviceError, match="MPS exists elsewhere"):
        choose_device("mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "", "tpu"])
def test_unknown_name_is_an_error(name):
    with pytest.raises(DeviceError, match="choose auto, cpu, cuda, cuda:N or mps"):
        choose_device(name)
