"""The compiled sums of overlapping windows, called through their C interface."""

from __future__ import annotations

import ctypes
import functools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import _native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["WindowKernels", "window_kernels"]

_logger = logging.getLogger(__name__)

_POINTER = ctypes.c_void_p
_RANGE = [ctypes.c_int64, ctypes.c_int64]


class WindowKernels:
    """Works on a ring: float32, contiguous, shape (planes, classes, rows, columns).

    Plane z of the image lies at z modulo the ring's planes. Everything lies on the CPU.

    Parameters
    ----------
    library : ctypes.CDLL
        The loaded library.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._add = library.medurwkv_window_add
        self._add.argtypes = [ctypes.c_int] + [_POINTER] * 8
        self._add.restype = None
        self._take = library.medurwkv_window_take
        self._take.argtypes = [ctypes.c_int, _POINTER, _POINTER, *_RANGE, _POINTER]
        self._labels = {
            1: library.medurwkv_window_labels_u8,
            2: library.medurwkv_window_labels_u16,
        }
        for function in self._labels.values():
            function.argtypes = [ctypes.c_int, _POINTER, _POINTER, *_RANGE]
            function.argtypes += [_POINTER, _POINTER, *_RANGE]

    def add(
        self,
        ring: Tensor,
        logits: Tensor,
        shares: Sequence[Tensor],
        place: Sequence[int],
    ) -> None:
        """Add one window.

        Parameters
        ----------
        ring : Tensor
            Changed in place.
        logits : Tensor of float32, shape (classes, planes, rows, columns)
            The covered part of the window; columns are contiguous.
        shares : sequence of Tensor of float32
            The window's share along planes, rows and columns.
        place : sequence of int
            First plane, row and column that the window covers.
        """
        _, planes, rows, columns = logits.shape
        z, y, x = place
        self._add(
            torch.get_num_threads(),
            ring.data_ptr(),
            _numbers(*ring.shape),
            logits.data_ptr(),
            _numbers(*logits.stride()[:3]),
            *(s.data_ptr() for s in shares),
            _numbers(z, planes, y, rows, x, columns),
        )

    def labels(
        self, ring: Tensor, first: int, end: int, values: NDArray[Any]
    ) -> tuple[NDArray[Any], bool]:
        """Choose the largest sum of planes [first, end) and empty them.

        Parameters
        ----------
        ring : Tensor
            Changed in place.
        first, end : int
            Planes of the image.
        values : ndarray of uint8 or uint16, shape (classes,)
            What to write for each class.

        Returns
        -------
        labels : ndarray, shape (end - first, rows, columns)
            Of the type of `values`; the first of equal sums wins.
        finite : bool
            Whether all sums were finite.
        """
        out = np.empty((end - first, *ring.shape[2:]), values.dtype)
        bad = self._labels[values.itemsize](
            torch.get_num_threads(),
            ring.data_ptr(),
            _numbers(*ring.shape),
            first,
            end,
            values.ctypes.data,
            out.ctypes.data,
            out.shape[1] * out.shape[2],
            out.shape[2],
        )
        return out, not bad

    def take(self, ring: Tensor, first: int, end: int) -> tuple[Tensor, bool]:
        """Move planes [first, end) out of the ring.

        Returns
        -------
        sums : Tensor, shape (classes, end - first, rows, columns)
        finite : bool
            Whether all were finite.
        """
        out = torch.empty((ring.shape[1], end - first, *ring.shape[2:]))
        bad = self._take(
            torch.get_num_threads(),
            ring.data_ptr(),
            _numbers(*ring.shape),
            first,
            end,
            out.data_ptr(),
        )
        return out, not bad


def _numbers(*values: int) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(values))(*values)


@functools.cache
def window_kernels() -> WindowKernels | None:
    """Return the compiled kernels; None where the library cannot be used."""
    native = _native.load()
    if isinstance(native, str):
        _logger.warning(
            "Overlapping windows are summed without the compiled kernel, several times"
            " slower: %s.",
            native,
        )
        return None
    return WindowKernels(native.library)
