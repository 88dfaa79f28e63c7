"""The names and colours that belong to the values of a mask."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LabelName", "default_color", "names_beside"]

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
# Name lists are short; anything longer is another kind of file.
LONGEST = 1 << 20
_ENDINGS = (".nii.gz", ".seg.nrrd", ".ome.tiff", ".ome.tif", ".mgh.gz")
_ITK_SNAP = (".txt", ".label", "_labels.txt", ".labels.txt")


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


def names_beside(mask: Path) -> tuple[LabelName, ...]:
    """Read the names that lie in a file beside a mask.

    Parameters
    ----------
    mask : Path
        The mask. Of ``a.nii.gz`` the files ``a.json`` (with "labels") and, in the form
        of ITK-SNAP, ``a.txt``, ``a.label``, ``a_labels.txt`` and ``a.labels.txt`` are
        looked for.

    Returns
    -------
    tuple of LabelName
        Sorted by value; empty where no such file is there, or none that is understood:
        scanners' converters put JSON of other contents beside their images.
    """
    stem = mask.name
    for ending in (*_ENDINGS, mask.suffix):
        if ending and stem.lower().endswith(ending.lower()):
            stem = stem[: -len(ending)]
            break
    texts = [(f"{stem}.json", _from_json)]
    texts += [(f"{stem}{ending}", _from_itk_snap) for ending in _ITK_SNAP]
    for name, parse in texts:
        file = mask.with_name(name)
        try:
            if not file.is_file() or file.stat().st_size > LONGEST:
                continue
            found = parse(file.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError):
            continue  # of another kind, or not ours to read
        if found:
            return tuple(sorted(found, key=lambda label: label.value))
    return ()


def _from_json(text: str) -> list[LabelName]:
    """Read {"labels": [{"value", "name", "color", "code"}]} or {"labels": {"1": name}}.

    Raises
    ------
    ValueError
        If the text is no JSON.
    """
    data = json.loads(text)
    labels: Any = data.get("labels") if isinstance(data, dict) else None
    if isinstance(labels, dict):
        labels = [{"value": key, "name": name} for key, name in labels.items()]
    if not isinstance(labels, list):
        return []
    found = []
    for entry in labels:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            return []
        try:
            value = int(entry["value"])
        except (KeyError, TypeError, ValueError):
            return []
        if value <= 0:
            continue
        color = str(entry.get("color", "")).lower()
        if not re.fullmatch(r"#[0-9a-f]{6}", color):
            color = default_color(value)
        code = entry.get("code")
        found.append(
            LabelName(
                value, entry["name"], color, code if isinstance(code, str) else ""
            )
        )
    return found


def _from_itk_snap(text: str) -> list[LabelName]:
    """Read lines of IDX R G B A VIS MSH "LABEL"; the background is left out."""
    found = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = shlex.split(line)
        if len(words) != 8:
            return []
        value, red, green, blue = (int(word) for word in words[:4])
        if max(red, green, blue) > 255 or min(value, red, green, blue) < 0:
            return []
        if value:
            color = f"#{red:02x}{green:02x}{blue:02x}"
            found.append(LabelName(value, words[7], color))
    return found
