"""A short form for what a checkpoint does not say of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medurwkv.widgets.look import WrappedLabel, let_shrink

__all__ = ["UnknownFileForm"]

_OPTIONS = {"averaged": "--weights", "patch_size": "--patch-size"}


class UnknownFileForm(QWidget):
    """Asks the open questions about one file, with the defaults filled in.

    What is left as it is stays the default. The answers are given as options of
    ``medurwkv models add``.
    """

    accepted = Signal(object, list)
    rejected = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._path = Path()
        self._fields: dict[str, tuple[QWidget, str]] = {}
        self._title = WrappedLabel()
        self._rows = QFormLayout()
        self._rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        add, cancel = QPushButton("Add model"), QPushButton("Cancel")
        add.clicked.connect(self.accept)
        cancel.clicked.connect(self._reject)
        buttons = QHBoxLayout()
        buttons.addWidget(add, 1)
        buttons.addWidget(cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._title)
        layout.addLayout(self._rows)
        layout.addLayout(buttons)
        self.hide()

    @property
    def path(self) -> Path:
        """The file that is asked about."""
        return self._path

    def ask(self, facts: dict[str, Any]) -> None:
        """Show the questions that ``medurwkv inspect --json`` left open."""
        self._path = Path(facts["path"])
        self._title.setText(
            f"{self._path.name} is a {facts['family']}. It does not say the following; "
            "correct what is wrong."
        )
        while self._rows.rowCount():
            self._rows.removeRow(0)
        self._fields = {}
        for question in facts["uncertain"]:
            if not question["name"]:
                continue
            field = self._field(question["assumed"], question["choices"])
            self._fields[question["name"]] = (field, question["assumed"])
            self._rows.addRow(WrappedLabel(question["question"]), field)
        self.show()

    def answer(self, name: str, text: str) -> None:
        """Fill in the answer to a question."""
        field, _ = self._fields[name]
        if isinstance(field, QComboBox):
            field.setCurrentText(text)
        elif isinstance(field, QLineEdit):
            field.setText(text)

    @property
    def options(self) -> list[str]:
        """The answers that differ from the defaults."""
        words = []
        for name, (field, default) in self._fields.items():
            text = (
                field.currentText() if isinstance(field, QComboBox) else field.text()
            ).strip()
            if text != default:
                option = _OPTIONS.get(name, f"--{name}")
                words.append(f"{option}={text}")
        return words

    def accept(self) -> None:
        """Hand the answers on."""
        self.hide()
        self.accepted.emit(self._path, self.options)

    def _reject(self) -> None:
        self.hide()
        self.rejected.emit()

    @staticmethod
    def _field(default: str, choices: list[str]) -> QWidget:
        if not choices:
            return QLineEdit(default)
        box = QComboBox()
        box.addItems(choices)
        box.setCurrentText(default)
        let_shrink(box)
        return box
