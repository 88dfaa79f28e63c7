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


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_gets_its_kernels_or_is_told_why_not(device, monkeypatch):
    monkeypatch.setattr(_cuda, "availability", lambda device: (True, str(device)))
    assert backend_for(device) == Backend("cuda", device)
    assert backend_for(device, torch.float64) == Backend(
        "portable", "the kernels for GPUs do not compute in float64"
    )
    _dispatch._choose.cache_clear()
    monkeypatch.setattr(_cuda, "availability", lambda device: (False, "too old"))
    assert backend_for(device) == Backend("portable", "too old")
    monkeypatch.setenv(_dispatch.VARIABLE, "cuda")
    with pytest.raises(DeviceError, match="too old"):
        backend_for(device)


def test_forced_cuda_on_the_cpu_is_an_error(monkeypatch):
    monkeypatch.setenv(_dispatch.VARIABLE, "cuda")
    with pytest.raises(DeviceError, match="no compiled kernel for cpu devices"):
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
    with pytest.raises(DeviceError, match="no compiled kernel for cuda devices"):
        backend_for("cuda")


def test_unknown_name_is_an_error(monkeypatch):
    monkeypatch.setenv(_dispatch.VARIABLE, "turbo")
    with pytest.raises(DeviceError, match=r"turbo.*portable, native, cuda"):
        backend_for("cpu")


def test_integers_have_no_backend():
    with pytest.raises(TypeError, match=r"torch\.int32"):
        backend_for("cpu", torch.int32)
