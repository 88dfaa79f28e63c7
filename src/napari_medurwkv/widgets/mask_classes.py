"""What the values of a labels layer mean: names, colours and codes as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.checkpoints import ClassInfo
from napari_medurwkv.checkpoints.card import CodedConcept

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["classes_of"]


def classes_of(
    state: Mapping[str, Any], block: Mapping[str, Any]
) -> tuple[ClassInfo, ...]:
    """Return the classes of a labels layer.

    What a run or a file said comes first; names and colours that the layer shows now,
    after somebody changed them, replace it.

    Parameters
    ----------
    state : mapping
        The layer's state, with "features" and "colormap" where it has them.
    block : mapping
        What this plugin keeps in the layer's metadata.
    """
    stored = [_stored(info) for info in block.get("classes") or ()]
    known = {info.value: info for info in stored}
    if block.get("instances"):
        return tuple(known.values())
    colors = _colors(state.get("colormap"))
    for value, name in _names(state.get("features")).items():
        info = known.get(value)
        color = colors.get(value) or (info.color if info else None)
        if value == 0 or not name or color is None:
            continue
        update = {"name": name, "color": color}
        known[value] = (
            info.model_copy(update=update)
            if info is not None
            else ClassInfo.model_construct(value=value, **update)
        )
    return tuple(known[value] for value in sorted(known))


def _stored(info: Mapping[str, Any]) -> ClassInfo:
    """Read a class of a card, or one that a mask's file named with a code."""
    fields = dict(info)
    parts = str(fields.pop("code", "") or "").split("^")
    if len(parts) == 3 and all(parts) and not fields.get("type"):
        fields["type"] = CodedConcept(scheme=parts[0], value=parts[1], meaning=parts[2])
    for name in ("category", "type"):
        if isinstance(fields.get(name), dict):
            fields[name] = CodedConcept(**fields[name])
    # Not validated: numbers of objects go beyond those that a card may have.
    kept = {key: fields[key] for key in ClassInfo.model_fields if key in fields}
    return ClassInfo.model_construct(**kept)


def _names(features: Any) -> dict[int, str]:
    if features is None or "index" not in features or "name" not in features:
        return {}
    pairs = zip(np.asarray(features["index"]), features["name"], strict=True)
    return {int(value): str(name) for value, name in pairs}


def _colors(colormap: Any) -> dict[int, str]:
    """Return the colours of a direct colormap; clear ones say nothing."""
    table: Iterable[tuple[Any, Any]] = getattr(colormap, "color_dict", {}).items()
    found = {}
    for value, color in table:
        rgba = np.asarray(color, dtype=np.float64)
        if value is None or rgba.shape != (4,) or rgba[3] == 0:
            continue
        red, green, blue = (round(255 * float(part)) for part in rgba[:3])
        found[int(value)] = f"#{red:02x}{green:02x}{blue:02x}"
    return found
