"""What only the user can decide when a file is opened: which series, and how exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QThread
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QListWidget,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from napari_medurwkv.errors import ApproximateGeometryError, SeriesChoiceError

__all__ = ["SeriesDialog", "can_ask", "choose_series", "take_approximate"]

LOAD_ANYWAY = "Load anyway, geometry approximate"


def can_ask() -> bool:
    """Whether there is a window system, and this is the thread that may use it."""
    application = QApplication.instance()
    return application is not None and (
        QThread.currentThread() is application.thread()
        or QThread.currentThread() == application.thread()
    )


class SeriesDialog(QDialog):
    """A list of the images in a folder, of which one or several are opened.

    Parameters
    ----------
    error : SeriesChoiceError
        With the images.
    """

    def __init__(self, error: SeriesChoiceError, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Open a DICOM folder")
        self._numbers = [choice.number for choice in error.series]
        self._list = QListWidget()
        self._list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._list.addItems([choice.text for choice in error.series])
        self._list.itemDoubleClicked.connect(lambda _: self.accept())
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open
            | QDialogButtonBox.StandardButton.Cancel
        )
        self._open = buttons.button(QDialogButtonBox.StandardButton.Open)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self._list.itemSelectionChanged.connect(self._allow)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("The folder holds several images. Which ones?"))
        layout.addWidget(self._list)
        layout.addWidget(buttons)
        self.resize(520, 320)
        self._list.setCurrentRow(0)

    @property
    def chosen(self) -> tuple[int, ...]:
        """Numbers of the selected images."""
        rows = sorted(index.row() for index in self._list.selectedIndexes())
        return tuple(self._numbers[row] for row in rows)

    def select(self, *numbers: int) -> None:
        """Select images by their numbers."""
        self._list.clearSelection()
        for number in numbers:
            self._list.item(self._numbers.index(number)).setSelected(True)

    def _allow(self) -> None:
        self._open.setEnabled(bool(self.chosen))


def choose_series(
    error: SeriesChoiceError, parent: QWidget | None = None
) -> tuple[int, ...]:
    """Ask which images of a folder to open; nothing where the user cancels."""
    dialog = SeriesDialog(error, parent)
    accepted = dialog.exec() == QDialog.DialogCode.Accepted
    chosen = dialog.chosen if accepted else ()
    dialog.deleteLater()
    return chosen


def take_approximate(
    error: ApproximateGeometryError, parent: QWidget | None = None
) -> bool:
    """Ask whether to load slices that are on no regular grid."""
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("The geometry is not exact")
    box.setText(str(error))
    box.setInformativeText(
        "The layer, and every file made of it, stays marked as approximate."
    )
    load = box.addButton(LOAD_ANYWAY, QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    taken = box.clickedButton() is load or box.clickedButton() == load
    box.deleteLater()
    return bool(taken)
