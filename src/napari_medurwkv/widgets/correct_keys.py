"""What the keys of the Correct panel do; they are bound on the mask's layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medurwkv.correction.catalogue import TOOLS

if TYPE_CHECKING:
    from napari_medurwkv.widgets.correct_panel import CorrectPanel

__all__ = ["bind_keys", "panel_keys", "unbind_keys"]


def panel_keys(panel: CorrectPanel) -> dict[str, Any]:
    """Return what each key does on the mask's layer; none is one of napari's own."""
    keys: dict[str, Any] = {
        tool.key: (lambda name=tool.name: panel.take_tool(name)) for tool in TOOLS
    }
    keys |= {
        ",": lambda: panel.navigator.go(-1),
        ".": lambda: panel.navigator.go(1),
        "K": panel.navigator.mark,
        "Shift-Q": panel.brush.toggle,
    }
    return keys


def bind_keys(layer: Any, panel: CorrectPanel) -> None:
    """Let the keys work while a layer is the active one."""
    for key, action in panel_keys(panel).items():
        layer.bind_key(key, lambda layer, act=action: (act(), None)[1], overwrite=True)


def unbind_keys(layer: Any, panel: CorrectPanel) -> None:
    """Give the keys of a layer back to napari."""
    for key in panel_keys(panel):
        layer.bind_key(key, None)
