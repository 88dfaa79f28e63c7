"""The badge that says how an image lies in the world, and whether that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QWidget

from napari_medurwkv.widgets.look import AMBER, GREEN, RED, WrappedLabel

if TYPE_CHECKING:
    from napari_medurwkv.geometry import Geometry

__all__ = ["GeometryBadge"]


class GeometryBadge(QFrame):
    """One line with orientation and spacing, and a mark: whether to trust them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = WrappedLabel()
        self._mark = QLabel()
        self._mark.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._mark.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text, 1)
        layout.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        self.clear()

    @property
    def text(self) -> str:
        """What the badge says, mark included."""
        mark = self._mark.text()
        return f"{self._text.text()} · {mark}" if mark else self._text.text()

    def clear(self, text: str = "") -> None:
        """Show a neutral line, or nothing."""
        self._say(text, "", None, "")
        self.setVisible(bool(text))

    def show_geometry(self, geometry: Geometry, origin: str = "") -> None:
        """Show orientation and spacing, and whether the image stated them.

        Parameters
        ----------
        geometry : Geometry
            Of the image.
        origin : str
            Where the knowledge comes from, for layers of other readers.
        """
        facts = _facts(geometry) + (f", {origin}" if origin else "")
        if geometry.assumed:
            self._say(
                facts,
                "assumed",
                AMBER,
                "The image does not state its orientation or spacing. The mask will "
                "lie on the image, but left and right, and sizes, are assumptions.",
            )
        elif geometry.approximate:
            self._say(
                facts,
                "approximate",
                AMBER,
                f"Loaded although {geometry.approximate}. Sizes and positions are "
                "approximate, here and in every file that is saved.",
            )
        else:
            self._say(
                facts,
                "known",
                GREEN,
                "The image states its orientation and spacing; a saved mask keeps both "
                "exactly.",
            )
        self.show()

    def show_problem(self, sentence: str) -> None:
        """Show why the geometry cannot be used."""
        self._say(sentence, "unusable", RED, sentence)
        self.show()

    def _say(self, text: str, mark: str, color: str | None, tip: str) -> None:
        self._text.setText(text)
        self._mark.setText(mark)
        self._mark.setVisible(bool(mark))
        self._mark.setStyleSheet(
            f"background: {color}; color: white; border-radius: 3px; padding: 1px 5px;"
            if color
            else ""
        )
        self.setToolTip(tip)


def _facts(geometry: Geometry) -> str:
    """Orientation and spacing without the verdict, which the mark gives."""
    verdicts = ("known", "geometry approximate", "orientation assumed")
    words = [w for w in geometry.describe().split(", ") if w not in verdicts]
    return ", ".join(words).replace(" x ", " × ")
