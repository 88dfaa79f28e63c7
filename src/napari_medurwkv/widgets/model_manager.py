"""Add, remove, and see the folder of one's own models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_medurwkv.checkpoints import lookup

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import CatalogueEntry

__all__ = ["ModelManager"]

_SURE_MS = 4000


class ModelManager(QWidget):
    """Three buttons; removing asks once more, on the button itself."""

    add_clicked = Signal()
    remove_confirmed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entry: CatalogueEntry | None = None
        self._sure = QTimer(self)
        self._sure.setSingleShot(True)
        self._sure.setInterval(_SURE_MS)
        self._sure.timeout.connect(self._calm)
        self.add = QPushButton("Add…")
        self.add.setToolTip(
            "Bring a checkpoint of any known kind; dropping a file here does the same"
        )
        self.remove = QPushButton()
        self.folder = QPushButton("Folder")
        self.folder.setToolTip("Show the folder of your own models")
        self.add.clicked.connect(self.add_clicked)
        self.remove.clicked.connect(self._remove)
        self.folder.clicked.connect(self._show_folder)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for button in (self.add, self.remove, self.folder):
            layout.addWidget(button)
        self._calm()

    def show_entry(self, entry: CatalogueEntry | None) -> None:
        """Say which model would be removed."""
        self._entry = entry
        self._calm()

    def _calm(self) -> None:
        self._sure.stop()
        folder = lookup.user_folder()
        own = self._entry is not None and (
            self._entry.path.parent in (folder, folder / "public")
        )
        self.remove.setEnabled(own)
        self.remove.setText("Remove")
        self.remove.setToolTip(
            "Delete this model from your folder"
            if own
            else "Only models in your own folder can be removed"
        )

    def _remove(self) -> None:
        if not self._sure.isActive():
            self.remove.setText("Really delete?")
            self._sure.start()
            return
        entry = self._entry
        self._calm()
        self.remove_confirmed.emit(entry)

    @staticmethod
    def _show_folder() -> None:
        folder = lookup.user_folder()
        folder.mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
