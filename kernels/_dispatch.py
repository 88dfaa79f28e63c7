"""Which implementation of Bi-WKV computes on which device, and why."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from napari_medurwkv.errors import DeviceError
from napari_medurwkv.kernels import _portable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Backend", "backend_for", "implementation_for"]

VARIABLE = "MEDURWKV_KERNELS"
NAMES = ("portable", "native")


class Implementation(Protocol):
    """Forward and backward of Bi-WKV on contiguous tensors of one dtype."""

    def forward(self, w: Tensor, u: Tensor, k: Tensor, v: Tensor, /) -> Tensor:
        """Output of shape (B, T, C)."""

    def backward(
        self, grad: Tensor, w: Tensor, u: Tensor, k: Tensor, v: Tensor, y: Tensor, /
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients by w, u, k and v."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The implementation of an operator that a device gets.

    Attributes
    ----------
    name : str
        ``"portable"`` (PyTorch operations) or ``"native"`` (compiled for CPUs).
    reason : str
        In plain words why this one, and why not a faster one.
    """

    name: str
    reason: str


def backend_for(
    device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Backend:
    """Say what computes Bi-WKV for tensors on a device."""
    return Backend("portable", f"PyTorch operations on {torch.device(device).type}")


def implementation_for(device: torch.device, dtype: torch.dtype) -> Implementation:
    return _portable
