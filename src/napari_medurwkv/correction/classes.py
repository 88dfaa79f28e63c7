"""The list of classes that a mask is edited with."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["COLOR_BLIND_SAFE", "LabelClass", "lock_or_unlock", "next_color"]

COLOR_BLIND_SAFE = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#999999",
)
"""Okabe and Ito's palette, which people with any colour vision can tell apart."""


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class.

    Attributes
    ----------
    value : int
        Its number in the mask; not 0.
    name : str
        What people call it.
    color : str
        "#rrggbb".
    locked : bool
        Whether none of its voxels may be won or lost.
    visible : bool
        Whether it is drawn.
    """

    value: int
    name: str
    color: str
    locked: bool = False
    visible: bool = True


def next_color(classes: tuple[LabelClass, ...]) -> str:
    """Return the colour of the palette that is used least."""
    used = [info.color for info in classes]
    return min(COLOR_BLIND_SAFE, key=used.count)


def lock_or_unlock(
    classes: tuple[LabelClass, ...], value: int
) -> tuple[LabelClass, ...]:
    """Return the classes with one of them locked, or unlocked."""
    return tuple(
        replace(info, locked=not info.locked) if info.value == value else info
        for info in classes
    )
