"""Whether there is a screen to open a window on."""

from __future__ import annotations

import os
import sys

__all__ = ["has_screen"]


def has_screen() -> bool:
    """Whether a window can be expected to open.

    On Linux a display server must be named; elsewhere the desktop is always there.
    """
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
