"""The calls of NVIDIA's driver, with a driver made of Python functions."""

from __future__ import annotations

import ctypes

import pytest
from napari_medurwkv.kernels import _cuda_driver
from napari_medurwkv.kernels._cuda_driver import (
    DriverError,
    Kernel,
    load_kernel,
    load_library,
)


class Function:
    """A driver's function that keeps what it was called with."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self.answers.pop(0) if self.answers else 0


class Driver:
    """A driver whose functions succeed unless told otherwise."""

    def __init__(self, **functions):
        self.functions = functions

    def __getattr__(self, name):
        return self.functions.setdefault(name, Function())

    __getitem__ = __getattr__


@pytest.fixture
def driver(monkeypatch):
    fake = Driver()
    monkeypatch.setattr(_cuda_driver, "_driver", lambda: fake)
    return fake


def launch(kernel):
    kernel.launch((3, 2, 1), (8, 4), 64, 7, b"argument", 0)


def test_launch_hands_over_grid_block_and_bytes(driver):
    launch(Kernel(5, ctypes.c_void_p()))
    ((handle, *numbers, stream, parameters, extra),) = driver.cuLaunchKernel.calls
    assert handle.value == 5
    assert numbers == [3, 2, 1, 8, 4, 1, 64]
    assert (stream, extra) == (7, None)
    pointer = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))
    assert ctypes.string_at(pointer[0], 8) == b"argument"


def test_a_thread_without_context_enters_it_and_tries_again(driver):
    driver.functions["cuLaunchKernel"] = Function(_cuda_driver._NO_CONTEXT, 0)
    launch(Kernel(5, ctypes.c_void_p()))
    assert len(driver.cuLaunchKernel.calls) == 2
    assert len(driver.cuDevicePrimaryCtxRetain.calls) == 1
    assert len(driver.cuCtxSetCurrent.calls) == 1


def test_a_refused_launch_is_an_error_with_words(driver):
    driver.functions["cuLaunchKernel"] = Function(701)
    with pytest.raises(DriverError, match="could not be launched: error 701"):
        launch(Kernel(5, ctypes.c_void_p()))


def test_refused_code_is_an_error(driver):
    driver.functions["cuLibraryLoadData"] = Function(209)
    with pytest.raises(DriverError, match="cuLibraryLoadData failed: error 209"):
        load_library(b"code")


def test_a_missing_kernel_is_an_error(driver):
    driver.functions["cuLibraryGetKernel"] = Function(500)
    with pytest.raises(DriverError, match="cuLibraryGetKernel failed: error 500"):
        load_kernel(load_library(b"code"), "name")


def test_permissions_are_asked_for_only_where_needed(driver):
    kernel = Kernel(5, ctypes.c_void_p())
    kernel.allow(0, shared=0, large_clusters=False)
    assert not driver.cuKernelSetAttribute.calls
    kernel.allow(0, shared=70000, large_clusters=True)
    asked = [(a.value, v.value) for a, v, *_ in driver.cuKernelSetAttribute.calls]
    assert asked == [(8, 70000), (14, 1)]


def test_what_one_problem_was_allowed_no_other_takes_back(driver):
    kernel = Kernel(5, ctypes.c_void_p())
    for shared in (70000, 30000, 80000):
        kernel.allow(0, shared=shared, large_clusters=False)
    kernel.allow(1, shared=30000, large_clusters=False)
    asked = [v.value for _, v, *_ in driver.cuKernelSetAttribute.calls]
    assert asked == [70000, 80000, 30000]


def test_no_driver_is_said_in_words(monkeypatch):
    monkeypatch.setattr(_cuda_driver, "_LIBRARY", "libnosuchdriver.so")
    _cuda_driver._driver.cache_clear()
    with pytest.raises(DriverError, match="driver cannot be loaded"):
        load_library(b"code")
    _cuda_driver._driver.cache_clear()
