"""From a source file and constants to a kernel that can be launched."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from ._cuda_compile import machine_code
from ._cuda_driver import Kernel, load_kernel, load_library
from ._cuda_plan import Limits

if TYPE_CHECKING:
    import ctypes

__all__ = ["architecture", "copies_ahead", "kernel", "limits", "processors", "stream"]


@functools.cache
def kernel(
    index: int,
    name: str,
    sources: tuple[str, ...],
    constants: tuple[tuple[str, int], ...] = (),
    shared: int = 0,
) -> Kernel:
    """Return a kernel that is ready to be launched on a device.

    Parameters
    ----------
    index : int
        The device.
    name : str
        The kernel's name.
    sources : tuple of str
        Files beside this one that make up the program.
    constants : tuple of (str, int), optional
        Macros to define.
    shared : int, optional
        Bytes of dynamic shared memory that it will ask for.

    Returns
    -------
    Kernel
    """
    loaded = _load(index, name, sources, constants)
    clusters = dict(constants).get("CLUSTER", 1) > 8
    loaded.allow(index, shared=shared, large_clusters=clusters)
    return loaded


@functools.cache
def _load(
    index: int,
    name: str,
    sources: tuple[str, ...],
    constants: tuple[tuple[str, int], ...],
) -> Kernel:
    return load_kernel(_library(index, sources, constants), name)


@functools.cache
def _library(
    index: int, sources: tuple[str, ...], constants: tuple[tuple[str, int], ...]
) -> ctypes.c_void_p:
    return load_library(machine_code(sources, dict(constants), architecture(index)))


@functools.cache
def architecture(index: int) -> str:
    """Architecture of a device as NVRTC names it."""
    return "sm_{}{}".format(*torch.cuda.get_device_capability(index))


@functools.cache
def limits(index: int) -> Limits:
    """Return what a device allows."""
    properties = torch.cuda.get_device_properties(index)
    major, _ = torch.cuda.get_device_capability(index)
    cluster = 8 if major >= 9 else 1
    if major in (9, 10) and properties.multi_processor_count >= 8 * 16:
        # Of its at most eight groups of processors one has the 16 that it takes.
        cluster = 16
    return Limits(
        cluster,
        # torch's types do not list this one
        int(properties.shared_memory_per_block_optin),  # type: ignore[attr-defined]
    )


@functools.cache
def copies_ahead(index: int) -> bool:
    """Say whether a device copies to shared memory behind the registers' back."""
    return torch.cuda.get_device_capability(index) >= (8, 0)


@functools.cache
def processors(index: int) -> int:
    """Count the multiprocessors of a device."""
    return int(torch.cuda.get_device_properties(index).multi_processor_count)


def stream(index: int) -> int:
    """Handle of the stream that torch works on."""
    return int(torch.cuda.current_stream(index).cuda_stream)
