"""What napari's command palette can do with the Correct panel: one command per tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari

from napari_medurwkv.correction.catalogue import find_tool
from napari_medurwkv.widgets.correct_panel import CorrectPanel
from napari_medurwkv.widgets.main_widget import MedurwkvWidget
from napari_medurwkv.widgets.settings import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "add_class",
    "apply_tool",
    "color_class",
    "copy_csv",
    "copy_numbers",
    "correct_panel",
    "cut",
    "delete",
    "fill_holes",
    "fix_scribbles",
    "grow",
    "grow_scribbles",
    "hollow",
    "interpolate",
    "invert",
    "isolate_class",
    "keep_largest",
    "keep_picked",
    "lock_class",
    "logical",
    "mark_checked",
    "merge",
    "next_slice",
    "previous_slice",
    "put_away_tool",
    "range_brush",
    "redo",
    "remove_small",
    "shrink",
    "smooth",
    "split_islands",
    "split_line",
    "split_waists",
    "swap",
    "take_result",
    "undo",
]

_WIDGET = "Med-URWKV"


def correct_panel() -> CorrectPanel:
    """Return the Correct panel, in front; napari opens the widget if it is not open."""
    viewer = napari.current_viewer()
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, CorrectPanel):
            widget.start()
            return widget
        if isinstance(widget, MedurwkvWidget):
            return _in_front(widget)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, _WIDGET)
    return _in_front(widget)


def _in_front(widget: Any) -> CorrectPanel:
    widget.show_panel(widget.correct)
    panel: CorrectPanel = widget.correct
    panel.start()
    return panel


def _tool(name: str) -> Callable[[], None]:
    """Make the command that takes a tool."""
    tool = find_tool(name)

    def take() -> None:
        correct_panel().take_tool(tool)

    take.__name__, take.__doc__ = name, f"{tool.hint}."
    return take


keep_largest = _tool("keep_largest")
remove_small = _tool("remove_small")
keep_picked = _tool("keep_picked")
split_islands = _tool("split_islands")
fill_holes = _tool("fill_holes")
smooth = _tool("smooth")
grow = _tool("grow")
shrink = _tool("shrink")
hollow = _tool("hollow")
interpolate = _tool("interpolate")
grow_scribbles = _tool("grow_scribbles")
fix_scribbles = _tool("fix_scribbles")
logical = _tool("logical")
invert = _tool("invert")
merge = _tool("merge")
delete = _tool("delete")
swap = _tool("swap")
split_line = _tool("split_line")
split_waists = _tool("split_waists")
cut = _tool("cut")
take_result = _tool("take_result")


def undo() -> None:
    """Undo the last step of the mask."""
    correct_panel().undo()


def redo() -> None:
    """Redo the step that was undone last."""
    correct_panel().redo()


def next_slice() -> None:
    """Go to the next slice of the chosen kind."""
    correct_panel().navigator.go(1)


def previous_slice() -> None:
    """Go to the previous slice of the chosen kind."""
    correct_panel().navigator.go(-1)


def mark_checked() -> None:
    """Note that the slice on screen has been looked at."""
    correct_panel().navigator.mark()


def range_brush() -> None:
    """Limit the brush to a range, or no more."""
    correct_panel().brush.toggle()


def lock_class() -> None:
    """Lock the chosen class, or unlock it."""
    correct_panel().lock_chosen()


def add_class() -> None:
    """Add a class and choose it."""
    correct_panel().add_class()


def copy_numbers() -> None:
    """Copy the numbers of all classes as a table."""
    correct_panel().copy_numbers()


def copy_csv() -> None:
    """Copy the numbers of all classes as comma-separated values."""
    correct_panel().copy_numbers(",")


def apply_tool() -> None:
    """Put what the tool shows into the mask."""
    correct_panel().tools.apply()


def put_away_tool() -> None:
    """Put the tool away; the mask stays as it is."""
    correct_panel().tools.cancel()


def isolate_class() -> None:
    """Show the chosen class only, or all again."""
    correct_panel().class_buttons.isolate.toggle()


def color_class() -> None:
    """Ask for a colour for the chosen class."""
    correct_panel().classes.ask_color()
