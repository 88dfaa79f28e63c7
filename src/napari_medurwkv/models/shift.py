"""The token shift of Vision-RWKV, and the mix of tokens with their neighbours."""

from __future__ import annotations

from napari_medurwkv.kernels import Grid, q_shift, shift_mix

__all__ = ["Grid", "q_shift", "shift_mix"]
