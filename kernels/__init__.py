"""Operators of RWKV networks as torch operators with fast kernels."""

from __future__ import annotations

from ._dispatch import Backend, backend_for
from ._operator import bi_wkv
from ._reference import bi_wkv_reference
from ._shift_mix import Grid, q_shift, shift_mix
from ._window import WindowKernels, window_kernels
from ._wkv6 import wkv6

__all__ = [
    "Backend",
    "Grid",
    "WindowKernels",
    "backend_for",
    "bi_wkv",
    "bi_wkv_reference",
    "q_shift",
    "shift_mix",
    "window_kernels",
    "wkv6",
]
