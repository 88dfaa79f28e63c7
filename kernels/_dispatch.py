"""Which implementation of Bi-WKV computes on which device, and why."""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from napari_medurwkv.errors import DeviceError

from . import _cuda, _native, _portable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Backend", "backend_for", "implementation_for"]

VARIABLE = "MEDURWKV_KERNELS"
"""Environment variable that forces an implementation by its name."""
NAMES = ("portable", "native", "cuda")
_FAST = {"cpu": "native", "cuda": "cuda"}

_logger = logging.getLogger(__name__)


class Implementation(Protocol):
    """Forward and backward of Bi-WKV on contiguous tensors."""

    @property
    def TAKES_HALVES(self) -> bool:
        """Whether keys and values may be of half precision."""

    @property
    def DIFFERENTIATES_SEGMENTS(self) -> bool:
        """Whether the backward pass takes segments."""

    def forward(
        self, w: Tensor, u: Tensor, k: Tensor, v: Tensor, segments: int = 0, /
    ) -> Tensor:
        """Compute the output, of shape (B, T, C)."""

    def backward(
        self,
        grad: Tensor,
        w: Tensor,
        u: Tensor,
        k: Tensor,
        v: Tensor,
        y: Tensor,
        segments: int = 0,
        /,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the gradients by w, u, k and v."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The implementation of the operator that a device gets.

    Attributes
    ----------
    name : str
        ``"portable"`` (PyTorch operations), ``"native"`` (compiled for CPUs) or
        ``"cuda"`` (compiled for NVIDIA GPUs).
    reason : str
        In plain words why this one and, where it is not the fastest, why no better
        one is used.
    """

    name: str
    reason: str


def backend_for(
    device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Backend:
    """Say which implementation computes Bi-WKV on a device.

    Parameters
    ----------
    device : torch.device or str
        Where the tensors lie.
    dtype : torch.dtype, optional
        Their type; half precisions are computed in float32.

    Returns
    -------
    Backend

    Raises
    ------
    TypeError
        If the type is not a floating point type.
    DeviceError
        If ``MEDURWKV_KERNELS`` forces an implementation that cannot be used here,
        or names none.
    """
    if not dtype.is_floating_point:
        raise TypeError(f"bi_wkv computes floating point numbers, not {dtype}.")
    return _choose(torch.device(device), dtype, os.environ.get(VARIABLE, ""))[0]


def implementation_for(device: torch.device, dtype: torch.dtype) -> Implementation:
    """Return the implementation that :func:`backend_for` tells of."""
    return _choose(device, dtype, os.environ.get(VARIABLE, ""))[1]


@functools.cache
def _choose(
    device: torch.device, dtype: torch.dtype, forced: str
) -> tuple[Backend, Implementation]:
    if forced and forced not in NAMES:
        raise DeviceError(
            f"{VARIABLE}={forced} names no implementation; choose one of"
            f" {', '.join(NAMES)} or unset it."
        )
    if forced == "portable":
        return Backend("portable", f"{VARIABLE}=portable forces it"), _portable
    name = _FAST.get(device.type)
    found: Implementation | str
    if name is None or forced not in ("", name):
        wanted = f"{forced} kernel" if forced and name else "compiled kernel"
        found = f"there is no {wanted} for {device.type} devices"
        expected = False
    elif name == "native":
        found = _native.load()
        reason = "" if isinstance(found, str) else _describe(found)
        expected = True
    else:
        found, reason, expected = _find_cuda(device, dtype)
    if not isinstance(found, str):
        return Backend(str(name), reason), found
    if forced:
        raise DeviceError(
            f"{VARIABLE}={forced} cannot be obeyed on {device.type}: {found};"
            " unset it to let the best implementation be chosen."
        )
    if expected:
        _logger.warning(
            "Bi-WKV runs on %s without its compiled kernel, several times slower: %s.",
            "the CPU" if device.type == "cpu" else device,
            found,
        )
    return Backend("portable", found), _portable


def _find_cuda(
    device: torch.device, dtype: torch.dtype
) -> tuple[Implementation | str, str, bool]:
    """Return the kernels or the obstacle, what they are, and if it is worth a word."""
    if dtype == torch.float64:
        return "the CUDA kernels compute float32 and half precisions only", "", False
    usable, reason = _cuda.availability(device)
    return (_cuda if usable else reason), reason, True


def _describe(native: _native.NativeKernels) -> str:
    threads = "" if native.has_threads else ", one thread: built without OpenMP"
    return f"compiled for the CPU, instruction set {native.instruction_set}{threads}"
