"""Words for what is found in files: short, whatever the file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["listed", "quoted", "shortened"]

_LONGEST = 100


def shortened(text: str) -> str:
    """Cut a text to a length that fits a message."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def quoted(value: object) -> str:
    """Quote a value, cut to a length that fits a message."""
    return shortened(repr(value))


def listed(items: Sequence[str], separator: str, most: int = 10) -> str:
    """Join the first items, and say how many more there are."""
    shown = list(items[:most])
    if len(items) > most:
        shown.append(f"and {len(items) - most} more")
    return separator.join(shown)
