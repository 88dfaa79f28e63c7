"""The model card as a user reads it before pressing Segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_medurwkv.widgets.class_legend import ClassLegend
from napari_medurwkv.widgets.foldout import Foldout
from napari_medurwkv.widgets.look import WrappedLabel

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import CatalogueEntry, ModelCard

__all__ = ["CardView", "facts"]


def facts(entry: CatalogueEntry) -> str:
    """Put dimensions, modality, licence and size of a checkpoint into one line."""
    card = entry.card
    return " · ".join(
        (
            f"{card.dimensions}D",
            ", ".join(card.modality),
            card.licence,
            f"{entry.size_bytes / 1e6:.1f} MB",
        )
    )


class CardView(QWidget):
    """What a model segments, on which images, under which licence, and how well."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._description = WrappedLabel()
        self._facts = WrappedLabel()
        self._legend = ClassLegend()
        self._limits = WrappedLabel()
        self._form = QWidget()
        self._rows = QFormLayout(self._form)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        self._more = Foldout("More about this model", self._form)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (
            self._description,
            self._facts,
            self._legend,
            self._limits,
            self._more,
        ):
            layout.addWidget(widget)
        self.hide()

    def show_entry(self, entry: CatalogueEntry | None) -> None:
        """Show a checkpoint's card; None hides the view."""
        self.setVisible(entry is not None)
        if entry is None:
            return
        card = entry.card
        self._description.setText(card.description)
        self._facts.setText(facts(entry))
        self._legend.show_classes(card.foreground)
        self._limits.setText(f"Limits: {_first_sentence(card.limitations)}")
        self._limits.setToolTip(card.limitations)
        while self._rows.rowCount():
            self._rows.removeRow(0)
        for title, text in _details(card):
            self._rows.addRow(f"{title}:", WrappedLabel(text))
        file = WrappedLabel(f"{entry.path.name}\nSHA-256 {entry.sha256[:16]}…")
        file.setToolTip(f"{entry.path}\nSHA-256 {entry.sha256}")
        self._rows.addRow("File:", file)


def _first_sentence(text: str) -> str:
    """Return the first sentence, and whether there are more."""
    first, stop, rest = text.partition(". ")
    return f"{first}{stop.strip()}{' …' if rest else ''}"


def _details(card: ModelCard) -> list[tuple[str, str]]:
    """Everything of the card that the short view leaves out, as (title, text)."""
    fields = type(card).model_fields
    sources = "\n".join(f"{s.name} ({s.licence})" for s in card.training_data)
    metrics = "\n".join(
        f"{m.name}{f' {m.class_name}' if m.class_name else ''} {m.value:.3g}, {m.data}"
        for m in card.metrics
    )
    spacing = "the image's own grid"
    if card.spacing is not None:
        spacing = " × ".join(f"{s:g}" for s in card.spacing) + " mm"
    rows = [
        ("limitations", card.limitations),
        ("metrics", metrics),
        ("training_data", sources),
        ("channels", ", ".join(channel.name for channel in card.channels)),
        ("spacing", spacing),
        ("architecture", card.architecture),
        ("authors", ", ".join(card.authors)),
        ("citation", card.citation),
        ("version", f"{card.version}, {card.date.isoformat()}"),
    ]
    return [(fields[name].title or name, text) for name, text in rows if text]
