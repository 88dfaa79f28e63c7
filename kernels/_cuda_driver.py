"""The few calls of NVIDIA's driver that loading and launching a kernel take.

Through ctypes rather than cuda.core: a warm start needs no compiler and none of its
imports then, and a launch costs about two microseconds.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

__all__ = ["DriverError", "Kernel", "load_kernel", "load_library"]

_DYNAMIC_SHARED = 8
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
        self._allowed: dict[int, int] = {}
        launch = _driver().cuLaunchKernel
        launch.argtypes = [
            ctypes.c_void_p,
            *[ctypes.c_uint] * 7,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._launch = launch

    def allow(self, device: int, *, shared: int, large_clusters: bool) -> None:
        """Allow what a launch does not take for granted.

        Parameters
        ----------
        device : int
            The device.
        shared : int
            Bytes of dynamic shared memory per block.
        large_clusters : bool
            Clusters of more than eight blocks.
        """
        settings = {}
        # The driver keeps one bound per kernel: a lower one would take back what
        # another problem, cut otherwise, was allowed before.
        if shared > self._allowed.get(device, 0):
            settings[_DYNAMIC_SHARED] = self._allowed[device] = shared
        if large_clusters:
            settings[_NON_PORTABLE_CLUSTER] = 1
        for attribute, value in settings.items():
            _call(
                "cuKernelSetAttribute",
                ctypes.c_int(attribute),
                ctypes.c_int(value),
                self._handle,
                ctypes.c_int(device),
            )

    def launch(
        self,
        grid: tuple[int, int, int],
        threads: int | tuple[int, int],
        shared: int,
        stream: int,
        arguments: bytes,
        device: int,
    ) -> None:
        """Launch on a stream of the current device.

        Parameters
        ----------
        grid : tuple of int
            Blocks along x, y and z.
        threads : int or (int, int)
            Threads of a block, along x and y.
        shared : int
            Bytes of dynamic shared memory of a block.
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
        across, down = threads if isinstance(threads, tuple) else (threads, 1)
        # An array of one pointer, to the bytes of the kernel's one argument.
        parameters = ctypes.byref(ctypes.c_char_p(arguments))
        x, y, z = grid
        status = self._launch(
            self._handle, x, y, z, across, down, 1, shared, stream, parameters, None
        )
        if status == _NO_CONTEXT:
            _enter_primary_context(device)
            status = self._launch(
                self._handle, x, y, z, across, down, 1, shared, stream, parameters, None
            )
        if status:
            raise DriverError(f"a kernel could not be launched: {_explain(status)}")


def load_library(cubin: bytes) -> ctypes.c_void_p:
    """Load machine code.

    Parameters
    ----------
    cubin : bytes
        The machine code.

    Returns
    -------
    ctypes.c_void_p
        The driver's handle.

    Raises
    ------
    DriverError
        If the driver refuses the code.
    """
    library, none, zero = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint(0)
    options = (none, none, zero, none, none, zero)
    _call("cuLibraryLoadData", ctypes.byref(library), cubin, *options)
    return library


def load_kernel(library: ctypes.c_void_p, name: str) -> Kernel:
    """Find a kernel in loaded machine code.

    Parameters
    ----------
    library : ctypes.c_void_p
        What :func:`load_library` returned.
    name : str
        The kernel's name in it.

    Returns
    -------
    Kernel

    Raises
    ------
    DriverError
        If the machine code has no such kernel.
    """
    handle = ctypes.c_void_p()
    _call("cuLibraryGetKernel", ctypes.byref(handle), library, name.encode())
    return Kernel(handle.value or 0, library)
