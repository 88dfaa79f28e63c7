from __future__ import annotations

import dataclasses
import logging

import pytest
import torch
from napari_medurwkv.kernels import (
    Backend,
    _cuda,
    _dispatch,
    _native,
    _portable,
    backend_for,
    bi_wkv,
)

from napari_medurwkv.errors import DeviceError


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch):
    monkeypatch.delenv(_dispatch.VARIABLE, raising=False)
    _dispatch._choose.cache_clear()
    yield
    _dispatch._choose.cache_clear()


@pytest.fixture
def no_library(monkeypatch):
    reason = "the compiled library is not installed"
    monkeypatch.setattr(_native, "load", lambda: reason)
    return reason


def test_cpu_gets_the_compiled_kernel(native):
    backend = backend_for("cpu")
    assert backend.name == "native"
    assert native.instruction_set in backend.reason
    assert backend_for(torch.device("cpu"), torch.bfloat16) == backend
    with pytest.raises(dataclasses.FrozenInstanceError):
        backend.name = "portable"


def test_other_devices_are_told_why():
    assert backend_for("mps") == Backend(
        "portable", "there is no compiled kernel for mps devices"
    )


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that the CUDA kernels compile, on the GPU numbered 0 only."""

    def availability(device):
        return (True, "compiled") if device.index == 0 else (False, "no compiler")

    monkeypatch.setattr(_cuda, "availability", availability)


def test_nvidia_gpus_get_the_cuda_kernel(gpu):
    assert backend_for("cuda:0") == Backend("cuda", "compiled")
    assert backend_for("cuda:0", torch.bfloat16) == Backend("cuda", "compiled")
    device = torch.device("cuda:0")
    assert _dispatch.implementation_for(device, torch.float16) is _cuda


def test_a_gpu_without_its_kernel_is_told_of_once(gpu, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert backend_for("cuda:1") == Backend("portable", "no compiler")
    (record,) = caplog.records
    assert "cuda:1" in record.getMessage()
    assert "no compiler" in record.getMessage()


def test_double_precision_on_a_gpu_is_portable_and_nothing_to_warn_of(gpu, caplog):
    backend = backend_for("cuda:0", torch.float64)
    assert backend.name == "portable"
    assert "float32 and half precisions only" in backend.reason
    assert not caplog.records


def test_forced_cuda(gpu, monkeypatch):
    monkeypatch.setenv(_dispatch.VARIABLE, "cuda")
    assert backend_for("cuda:0").name == "cuda"
    with pytest.raises(DeviceError, match="cannot be obeyed on cuda: no compiler"):
        backend_for("cuda:1")
    with pytest.raises(DeviceError, match="no cuda kernel for cpu devices"):
        backend_for("cpu")


def test_without_the_library_it_still_runs_and_says_so_once(
    no_library, make_inputs, caplog
):
    x = make_inputs((1, 20, 4))
    with caplog.at_level(logging.WARNING):
        y = bi_wkv(*x.arguments)
        bi_wkv(*x.arguments)
        assert backend_for("cpu") == Backend("portable", no_library)
    assert torch.equal(y, _portable.forward(*x.arguments))
    (record,) = caplog.records
    assert record.name == "napari_medurwkv.kernels._dispatch"
    assert no_library in record.getMessage()


def test_portable_can_be_forced(monkeypatch, make_inputs):
    monkeypatch.setenv(_dispatch.VARIABLE, "portable")
    backend = backend_for("cpu")
    assert backend.name == "portable"
    assert "MEDURWKV_KERNELS=portable" in backend.reason
    x = make_inputs((1, 200, 16))
    assert torch.equal(bi_wkv(*x.arguments), _portable.forward(*x.arguments))


def test_native_can_be_forced(monkeypatch, native, make_inputs):
    monkeypatch.setenv(_dispatch.VARIABLE, "native")
    assert backend_for("cpu").name == "native"
    x = make_inputs((1, 200, 16))
    assert torch.equal(bi_wkv(*x.arguments), native.forward(*x.arguments))


def test_forced_native_that_is_missing_is_an_error(
    monkeypatch, no_library, make_inputs, caplog
):
    monkeypatch.setenv(_dispatch.VARIABLE, "native")
    with pytest.raises(DeviceError, match=no_library):
        backend_for("cpu")
    with pytest.raises(DeviceError, match=no_library):
        bi_wkv(*make_inputs((1, 20, 4)).arguments)
    assert not caplog.records


def test_forced_native_on_another_device_is_an_error(monkeypatch):
    monkeypatch.setenv(_dispatch.VARIABLE, "native")
    with pytest.raises(DeviceError, match="no native kernel for cuda devices"):
        backend_for("cuda")


def test_unknown_name_is_an_error(monkeypatch):
    monkeypatch.setenv(_dispatch.VARIABLE, "turbo")
    with pytest.raises(DeviceError, match=r"turbo.*portable, native, cuda"):
        backend_for("cpu")


def test_integers_have_no_backend():
    with pytest.raises(TypeError, match=r"torch\.int32"):
        backend_for("cpu", torch.int32)
