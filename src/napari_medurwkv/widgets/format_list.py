"""The list of formats that fit a mask, with a box to tick for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem

from napari_medurwkv.export import FORMATS, Format

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qtpy.QtWidgets import QWidget

    from napari_medurwkv.geometry import Geometry

__all__ = ["FormatList"]

_KEY = Qt.ItemDataRole.UserRole
_ROWS = 7
_ROW_HEIGHT = 22


class FormatList(QListWidget):
    """Formats to tick; those that cannot hold the mask are not listed.

    A format that only lacks a package is listed in grey, and its tip names the command
    that installs it.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._touched = False
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setUniformItemSizes(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemChanged.connect(self._tell)

    @property
    def touched(self) -> bool:
        """Whether a person has ticked something."""
        return self._touched

    @property
    def chosen(self) -> tuple[Format, ...]:
        """The ticked formats, in the list's order."""
        ticked = {
            item.data(_KEY)
            for item in self._items()
            if item.checkState() == Qt.CheckState.Checked
        }
        return tuple(entry for entry in FORMATS if entry.key in ticked)

    @property
    def offered(self) -> tuple[str, ...]:
        """Keys of the formats that can be ticked."""
        return tuple(
            item.data(_KEY)
            for item in self._items()
            if item.flags() & Qt.ItemFlag.ItemIsEnabled
        )

    def offer(self, geometry: Geometry, usual: str) -> None:
        """List what fits a mask; what was ticked stays so where it still fits.

        Parameters
        ----------
        geometry : Geometry
            Of the mask.
        usual : str
            Key of the format that is ticked where none is.
        """
        before = {entry.key for entry in self.chosen} if self._touched else set()
        self.blockSignals(True)
        self.clear()
        for entry in FORMATS:
            reason = entry.unfit(geometry)
            # Why an image of DICOM gets no DICOM mask, is said; the rest is left out.
            own = entry.key == "dicom-seg" and geometry.source.dicom is not None
            if reason and not own and not reason.startswith("needs"):
                continue
            item = QListWidgetItem(f"{entry.title}  {entry.ending}", self)
            item.setData(_KEY, entry.key)
            item.setSizeHint(QSize(0, _ROW_HEIGHT))
            item.setToolTip(
                f"For {entry.purpose}. Has no room for {entry.loses}."
                if not reason
                else _why(entry.title, reason)
            )
            item.setFlags(
                Qt.ItemFlag.NoItemFlags
                if reason
                else Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable
            )
            item.setCheckState(Qt.CheckState.Unchecked)
        self.blockSignals(False)
        kept = before & set(self.offered)
        self._tick(kept or {usual})

    def choose(self, keys: Iterable[str]) -> None:
        """Tick these formats, and no other."""
        self._touched = True
        self._tick(set(keys))

    def sizeHint(self) -> QSize:
        """Return room for a handful of rows; the rest is scrolled to."""
        rows = min(max(self.count(), 3), _ROWS)
        return QSize(200, _ROW_HEIGHT * rows + 6)

    def minimumSizeHint(self) -> QSize:
        """Return the same: a list of one row would hide what there is."""
        return QSize(80, self.sizeHint().height())

    def _items(self) -> list[QListWidgetItem]:
        return [self.item(row) for row in range(self.count())]

    def _tick(self, keys: set[str]) -> None:
        self.blockSignals(True)
        for item in self._items():
            on = item.data(_KEY) in keys
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
        self.blockSignals(False)
        self.updateGeometry()
        self.changed.emit()

    def _tell(self, item: QListWidgetItem) -> None:
        self._touched = True
        self.changed.emit()


def _why(title: str, reason: str) -> str:
    return f"{title} {reason}." if reason.startswith("needs") else f"{reason}."
