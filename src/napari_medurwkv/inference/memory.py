"""How much memory this process has, has had, and may still take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["forget_peak", "free_memory", "peak", "resident"]


def resident() -> int | None:
    """Bytes that the process has in memory; None where the system does not tell."""
    return _status("VmRSS")


def peak() -> int | None:
    """Most bytes in memory since `forget_peak`, or since the start; None if unknown."""
    if sys.platform == "darwin":
        import resource

        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return _status("VmHWM")


def forget_peak() -> None:
    """Have the peak counted from now on, where the system can."""
    file = Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text("5")


def free_memory(device: str) -> tuple[int | None, int | None]:
    """Return the bytes that are free on the host and on a CUDA device.

    Parameters
    ----------
    device : str
        torch's name of it.

    Returns
    -------
    host, device : int or None
        None where the system does not tell, or there is no such device. What torch
        has reserved of the device counts as free.
    """
    host = None
    file = Path("/proc/meminfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                host = int(line.split()[1]) * 1024
    if not device.startswith("cuda"):
        return host, None
    import torch

    get: Any = torch.cuda.mem_get_info
    return host, int(get(device)[0]) + int(torch.cuda.memory_reserved(device))


def _status(name: str) -> int | None:
    file = Path("/proc/self/status")
    if not file.is_file():
        return None
    for line in file.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return None
