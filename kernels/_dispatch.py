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

_logger = logging.getLogger(__name__)


class Implementation(Protocol):
    """Forward and backward of Bi-WKV on contiguous tensors of one dtype."""

    def forward(self, w: Tensor, u: Tensor, k: Tensor, v: Tensor, /) -> Tensor:
        """Compute the output, of shape (B, T, C)."""

    def backward(
        self, grad: Tensor, w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, /
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
    return _chosen(torch.device(device), dtype)[0]


def implementation_for(device: torch.device, dtype: torch.dtype) -> Implementation:
    """Return the implementation that :func:`backend_for` tells of."""
    return _chosen(device, dtype)[1]


def _chosen(device: torch.device, dtype: torch.dtype) -> tuple[Backend, Implementation]:
    double = dtype == torch.float64 and device.type == "cuda"
    return _choose(device.type, device.index, double, os.environ.get(VARIABLE, ""))


@functools.cache
def _choose(
    device: str, index: int | None, double: bool, forced: str
) -> tuple[Backend, Implementation]:
    if forced and forced not in NAMES:
        raise DeviceError(
            f"{VARIABLE}={forced} names no implementation; choose one of"
            f" {', '.join(NAMES)} or unset it."
        )
    if forced == "portable":
        return Backend("portable", f"{VARIABLE}=portable forces it"), _portable
    if device == "cuda" and forced != "native":
        usable, obstacle = False, "the kernels for GPUs do not compute in float64"
        if not double:
            usable, obstacle = _cuda.availability(
                torch.device(device if index is None else f"{device}:{index}")
            )
        if usable:
            return Backend("cuda", obstacle), _cuda
    elif device != "cpu" or forced == "cuda":
        obstacle = f"there is no compiled kernel for {device} devices"
    else:
        native = _native.load()
        if not isinstance(native, str):
            return Backend("native", _describe(native)), native
        obstacle = native
    if not forced and device in ("cpu", "cuda") and not double:
        _logger.warning(
            "Bi-WKV runs on the %s without its compiled kernel, several times"
            " slower: %s.",
            "CPU" if device == "cpu" else "GPU",
            obstacle,
        )
    if forced:
        raise DeviceError(
            f"{VARIABLE}={forced} cannot be obeyed on {device}: {obstacle};"
            " unset it to let the best implementation be chosen."
        )
    return Backend("portable", obstacle), _portable


def _describe(native: _native.NativeKernels) -> str:
    threads = "" if native.has_threads else ", one thread: built without OpenMP"
    return f"compiled for the CPU, instruction set {native.instruction_set}{threads}"
