"""The few calls of NVIDIA's driver that loading and launching a kernel take.

Through ctypes rather than cuda.core: a warm start needs no compiler and none of its
imports then, and a launch costs about two microseconds.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

__all__ = ["DriverError", "Kernel", "load_kernel"]

_NON_PORTABLE_CLUSTER = 14
_NO_CONTEXT = 201
_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class DriverError(RuntimeError):
    """A call of the driver failed."""


@functools.cache
def _driver() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise DriverError(f"NVIDIA's driver cannot be loaded ({error})") from error


def _explain(status: int) -> str:
    text = ctypes.c_char_p()
    _driver().cuGetErrorString(status, ctypes.byref(text))
    return f"error {status}, {(text.value or b'unknown').decode()}"


def _call(name: str, *arguments: Any) -> None:
    status = _driver()[name](*arguments)
    if status:
        raise DriverError(f"{name} failed: {_explain(status)}")


def _enter_primary_context(device: int) -> None:
    """Enter the context that PyTorch works in, on a thread that has none yet."""
    context = ctypes.c_void_p()
    _call("cuDevicePrimaryCtxRetain", ctypes.byref(context), ctypes.c_int(device))
    _call("cuCtxSetCurrent", context)


class Kernel:
    """A loaded kernel.

    Parameters
    ----------
    handle : int
        The driver's handle.
    library : ctypes.c_void_p
        What the kernel lives in; never unloaded, because graphs may refer to it.
    """

    def __init__(self, handle: int, library: ctypes.c_void_p) -> None:
        self._handle = ctypes.c_void_p(handle)
        self._library = library
        launch = _driver().cuLaunchKernel
        launch.argtypes = [
            ctypes.c_void_p,
            *[ctypes.c_uint] * 7,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._launch = launch

    def allow_large_clusters(self, device: int) -> None:
        """Allow clusters of more than eight blocks on a device."""
        _call(
            "cuKernelSetAttribute",
            ctypes.c_int(_NON_PORTABLE_CLUSTER),
            ctypes.c_int(1),
            self._handle,
            ctypes.c_int(device),
        )

    def launch(
        self,
        grid: tuple[int, int, int],
        threads: int,
        stream: int,
        arguments: bytes,
        device: int,
    ) -> None:
        """Launch on a stream of the current device.

        Parameters
        ----------
        grid : tuple of int
            Blocks along x, y and z.
        threads : int
            Threads of a block.
        stream : int
            The stream's handle.
        arguments : bytes
            The kernel's one argument, a structure.
        device : int
            The current device.

        Raises
        ------
        DriverError
            If the driver refuses.
        """
        buffer = ctypes.c_char_p(arguments)
        pointer = ctypes.c_void_p(ctypes.cast(buffer, ctypes.c_void_p).value)
        for attempt in (0, 1):
            status = self._launch(
                self._handle,
                *grid,
                threads,
                1,
                1,
                0,
                stream,
                ctypes.byref(pointer),
                None,
            )
            if status != _NO_CONTEXT or attempt:
                break
            _enter_primary_context(device)
        if status:
            raise DriverError(f"a kernel could not be launched: {_explain(status)}")


def load_kernel(cubin: bytes, name: str) -> Kernel:
    """Load a kernel from machine code.

    Parameters
    ----------
    cubin : bytes
        The machine code.
    name : str
        The kernel's name in it.

    Returns
    -------
    Kernel

    Raises
    ------
    DriverError
        If the driver refuses the code.
    """
    library, handle = ctypes.c_void_p(), ctypes.c_void_p()
    none = ctypes.c_void_p()
    zero = ctypes.c_uint(0)
    _call(
        "cuLibraryLoadData",
        ctypes.byref(library),
        cubin,
        none,
        none,
        zero,
        none,
        none,
        zero,
    )
    _call("cuLibraryGetKernel", ctypes.byref(handle), library, name.encode())
    return Kernel(handle.value or 0, library)
