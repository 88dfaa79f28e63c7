"""Show what `medurwkv doctor` finds, for people who never open a terminal."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase, QGuiApplication
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QPlainTextEdit,
    QVBoxLayout,
)

from napari_medurwkv.widgets.background import Outcome, in_background

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["DoctorDialog", "show_doctor_report"]

_LIMIT_S = 120


def run_doctor() -> str:
    """Run the doctor in a process of its own, because it imports torch.

    Returns
    -------
    str
        What it printed, errors included.
    """
    code = "from napari_medurwkv.cli import main; main()"
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-P", "-c", code, "doctor"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=_LIMIT_S,
        check=False,
    )
    return f"{done.stdout}\n{done.stderr}".strip()


class DoctorDialog(QDialog):
    """A window with the report and a button that copies it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Med-URWKV: device and installation")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(720, 420)
        self.report = QPlainTextEdit("checking…")
        self.report.setReadOnly(True)
        self.report.setFont(
            QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        )
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(self._copy)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.report)
        layout.addWidget(buttons)
        self._task = in_background(run_doctor, self._show_report)
        self.destroyed.connect(self._task.abandon)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.report.toPlainText())

    def _show_report(self, outcome: Outcome[str]) -> None:
        if outcome.value is None:
            self.report.setPlainText(f"The report could not be made: {outcome.error}")
        else:
            self.report.setPlainText(outcome.value)


def show_doctor_report() -> DoctorDialog:
    """Open the report; it fills in when the doctor is done."""
    dialog = DoctorDialog(QApplication.activeWindow())
    dialog.show()
    return dialog
