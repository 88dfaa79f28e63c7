"""Whether other processes of this computer are still there."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["alive"]


def alive(pid: int) -> bool:
    """Tell whether there is a process of this number.

    Parameters
    ----------
    pid : int
        Number of the process.
    """
    if pid == os.getpid():
        return True
    if os.name == "nt":
        return _alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _alive_on_windows(pid: int) -> bool:
    # os.kill would end the process there.
    import ctypes

    kernel: Any = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(0x1000, False, pid)
    if handle:
        kernel.CloseHandle(handle)
    return bool(handle)
