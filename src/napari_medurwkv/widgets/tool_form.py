"""The parameters of a tool, as a form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QSpinBox,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medurwkv.correction.tools import Parameter, Tool

__all__ = ["LabelSpin", "ToolForm"]


class LabelSpin(QSpinBox):
    """A label, with the name of its class; a number can be typed.

    Parameters
    ----------
    names : mapping
        From label to name.
    """

    def __init__(self, names: Mapping[int, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._names = names

    def textFromValue(self, value: int) -> str:
        """Write the number, and the name if there is one."""
        name = self._names.get(value)
        return str(value) if name is None else f"{value} – {name}"

    def valueFromText(self, text: str) -> int:
        """Read the number."""
        return int(_digits(text) or self.minimum())

    def validate(self, text: str, pos: int) -> tuple[QValidator.State, str, int]:
        """Accept what begins with a number of the range."""
        digits = _digits(text)
        good = digits and self.minimum() <= int(digits) <= self.maximum()
        state = QValidator.State
        return (state.Acceptable if good else state.Intermediate), text, pos


def _digits(text: str) -> str:
    stripped = text.strip()
    return stripped[: len(stripped) - len(stripped.lstrip("0123456789"))]


class ToolForm(QWidget):
    """One row per parameter; what was chosen for a tool is still there next time."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._editors: dict[str, QWidget] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self._tool: Tool | None = None
        self._names: dict[int, str] = {}

    def show_tool(
        self, tool: Tool | None, names: Mapping[int, str] | None = None
    ) -> None:
        """Show the parameters of a tool; None shows nothing.

        Parameters
        ----------
        tool : Tool or None
            Which.
        names : mapping, optional
            From label to the name of its class.
        """
        self._names = dict(names or {})
        if self._tool is not None:
            self._kept[self._tool.name] = self.values()
        while self._layout.rowCount():
            self._layout.removeRow(0)
        self._editors.clear()
        self._tool = tool
        if tool is None:
            return
        kept = self._kept.get(tool.name, {})
        for parameter in tool.parameters:
            value = kept.get(parameter.name, parameter.default)
            editor = self._make(parameter, value)
            self._editors[parameter.name] = editor
            if isinstance(editor, QCheckBox):
                self._layout.addRow(editor)
            else:
                self._layout.addRow(parameter.title, editor)

    def values(self) -> dict[str, Any]:
        """Return what is chosen."""
        return {name: _read(editor) for name, editor in self._editors.items()}

    def set_value(self, name: str, value: Any) -> None:
        """Choose a value, as a user would."""
        editor = self._editors[name]
        if isinstance(editor, QCheckBox):
            editor.setChecked(bool(value))
        elif isinstance(editor, QComboBox):
            editor.setCurrentText(str(value))
        else:
            editor.setValue(value)

    def _make(self, parameter: Parameter, value: Any) -> QWidget:
        if isinstance(parameter.default, bool):
            box = QCheckBox(parameter.title)
            box.setChecked(bool(value))
            box.toggled.connect(self._announce)
            return box
        if isinstance(parameter.default, str):
            combo = QComboBox()
            combo.addItems(parameter.choices)
            combo.setCurrentText(str(value))
            combo.currentTextChanged.connect(self._announce)
            return combo
        whole = isinstance(parameter.default, int)
        spin: QSpinBox | QDoubleSpinBox
        if parameter.label is not None:
            zero = {0: parameter.label} if parameter.label else {}
            spin = LabelSpin({**self._names, **zero})
        else:
            spin = QSpinBox() if whole else QDoubleSpinBox()
        if whole:
            spin.setRange(int(parameter.low), int(parameter.high))
        else:
            spin.setRange(parameter.low, parameter.high)
            spin.setDecimals(1)
            spin.setSingleStep(0.5)
        spin.setSuffix(parameter.suffix)
        spin.setValue(value)
        spin.valueChanged.connect(self._announce)
        return spin

    def _announce(self, *_: Any) -> None:
        self.changed.emit()


def _read(editor: QWidget) -> Any:
    if isinstance(editor, QCheckBox):
        return bool(editor.isChecked())
    if isinstance(editor, QComboBox):
        return str(editor.currentText())
    return editor.value()
