"""The names and colours that belong to the values of a mask."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LabelName", "default_color"]

# Told apart by most people with colour vision deficiencies (after Okabe and Ito).
_COLORS = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)


@dataclass(frozen=True, slots=True)
class LabelName:
    """What a value of a mask stands for, as its file says.

    Attributes
    ----------
    value : int
        In the mask.
    name : str
        Shown to the user.
    color : str
        Hexadecimal sRGB, "#rrggbb".
    code : str
        Coded meaning, "scheme^value^meaning" such as "SCT^10200004^Liver"; "" if none.
    """

    value: int
    name: str
    color: str
    code: str = ""


def default_color(value: int) -> str:
    """Return a colour for a value whose file states none."""
    return _COLORS[(value - 1) % len(_COLORS)]
