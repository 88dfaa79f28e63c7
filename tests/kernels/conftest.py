"""The implementations of Bi-WKV under test, and inputs for them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import pytest
import torch
from napari_medurwkv.kernels import _dispatch, _native, _portable


def native_kernels(level: int | None = None) -> _native.NativeKernels:
    """Compiled kernels at an instruction set; skips where they cannot run."""
    best = _native.load()
    if isinstance(best, str):
        pytest.skip(best)
    if level is not None and level > best.level:
        pytest.skip(f"this processor has no {_native.LEVELS[level]}")
    return _native.NativeKernels(ctypes.CDLL(str(_native.LIBRARY)), level)


@pytest.fixture(params=["portable", *_native.LEVELS])
def implementation(request):
    """Each implementation in turn."""
    if request.param == "portable":
        return _portable
    return native_kernels(_native.LEVELS.index(request.param))


@pytest.fixture
def native():
    """The compiled kernels at the processor's best instruction set."""
    return native_kernels()


@pytest.fixture(params=["portable", "native"])
def forced(request, monkeypatch):
    """Name of the implementation that the operator is made to use."""
    if request.param == "native":
        native_kernels()
    monkeypatch.setenv(_dispatch.VARIABLE, request.param)
    return request.param


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems: threads would only wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Inputs:
    """Arguments of Bi-WKV and a gradient for its output."""

    w: torch.Tensor
    u: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    grad: torch.Tensor

    @property
    def arguments(self):
        return self.w, self.u, self.k, self.v

    def channels(self, part: slice) -> Inputs:
        return Inputs(
            self.w[part],
            self.u[part],
            *(x[..., part].contiguous() for x in (self.k, self.v, self.grad)),
        )

    def double(self) -> Inputs:
        return Inputs(*(x.double() for x in (*self.arguments, self.grad)))


@pytest.fixture(scope="session")
def make_inputs():
    """Random inputs: v of standard deviation 1, w·T and the spread of k as asked."""

    def make(shape, decay=(-5.0, 3.0), spread=1.0, bonus=0.5, seed=0):
        batch, tokens, channels = shape
        generator = torch.Generator().manual_seed(seed)
        if isinstance(decay, tuple):
            decay = torch.linspace(*decay, channels)
        w = torch.as_tensor(decay, dtype=torch.float32).expand(channels) / tokens
        u = torch.randn(channels, generator=generator) * bonus
        k, v, grad = torch.randn((3, batch, tokens, channels), generator=generator)
        return Inputs(w.contiguous(), u, k * torch.as_tensor(spread), v, grad)

    return make
