"""Operators of RWKV networks as torch operators with fast kernels."""

from __future__ import annotations

from ._dispatch import Backend, backend_for
from ._operator import bi_wkv
from ._reference import bi_wkv_reference
from ._window import WindowKernels, window_kernels
from ._wkv6_portable import wkv6

__all__ = [
    "Backend",
    "WindowKernels",
    "backend_for",
    "bi_wkv",
    "bi_wkv_reference",
    "window_kernels",
    "wkv6",
]
