"""The questions at opening: which series, and whether inexact will do."""

from __future__ import annotations

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_medurwkv.errors import (
    ApproximateGeometryError,
    SeriesChoice,
    SeriesChoiceError,
)
from napari_medurwkv.widgets import open_questions

ERROR = SeriesChoiceError(
    "several", (SeriesChoice(1, "1.2", "CT, chest"), SeriesChoice(2, "1.3", "MR"))
)


def test_series_dialog(qtbot):
    dialog = open_questions.SeriesDialog(ERROR)
    qtbot.addWidget(dialog)
    assert dialog.chosen == (1,)
    dialog.select(1, 2)
    assert dialog.chosen == (1, 2)
    dialog.select()
    assert dialog.chosen == ()
    assert not dialog._open.isEnabled()


def test_choosing(qtbot, monkeypatch):
    assert open_questions.can_ask()

    def answer():
        dialog = QApplication.activeModalWidget()
        dialog.select(2)
        dialog.accept()

    QTimer.singleShot(50, answer)
    assert open_questions.choose_series(ERROR) == (2,)
    QTimer.singleShot(50, lambda: QApplication.activeModalWidget().reject())
    assert open_questions.choose_series(ERROR) == ()


def press(text):
    box = QApplication.activeModalWidget()
    assert isinstance(box, QMessageBox)
    next(b for b in box.buttons() if text in b.text()).click()


def test_approximate(qtbot):
    error = ApproximateGeometryError("2 slices are missing.")
    QTimer.singleShot(50, lambda: press("Load anyway"))
    assert open_questions.take_approximate(error)
    QTimer.singleShot(50, lambda: press("Cancel"))
    assert not open_questions.take_approximate(error)
