"""``medurwkv models``: what can segment, and what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from napari_medurwkv.cli.options import AsJson  # noqa: TC001 - typer reads it
from napari_medurwkv.cli.streams import add_row, say, show_json, show_table

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import CatalogueEntry

__all__ = ["models"]


def models(
    as_json: AsJson = False,
) -> None:
    """List the models that can be used by name."""
    from napari_medurwkv.checkpoints import catalogue, unusable, user_folder

    entries, problems = catalogue(), [str(problem) for problem in unusable()]
    if as_json:
        show_json(
            {"models": [_describe(entry) for entry in entries], "unusable": problems}
        )
        return
    table = Table(title="Models")
    for heading in ("Name", "Segments", "Images", "Classes", "Size", "Licence"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        card = entry.card
        add_row(
            table,
            entry.name,
            card.title,
            f"{card.dimensions}D, {', '.join(card.modality)}",
            ", ".join(info.name for info in card.foreground),
            f"{entry.size_bytes / 1e6:.1f} MB",
            card.licence,
        )
    show_table(table)
    for problem in problems:
        say(f"Not usable: {problem}")
    say(f"Further checkpoints are looked for in {user_folder()}.")


def _describe(entry: CatalogueEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "path": str(entry.path),
        "sha256": entry.sha256,
        "size_bytes": entry.size_bytes,
        "embedded": entry.embedded,
        "card": entry.card.model_dump(mode="json"),
    }
