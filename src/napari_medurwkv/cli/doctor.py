"""``medurwkv doctor``: what works here, what does not, and what repairs it."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.table import Table

from napari_medurwkv.cli.options import AsJson  # noqa: TC001 - typer reads it
from napari_medurwkv.cli.streams import (
    USER_ERROR,
    add_row,
    only_results_on_stdout,
    show_json,
    show_table,
)

__all__ = ["doctor"]

SIGNS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


def doctor(as_json: AsJson = False) -> None:
    """Say what works here, and how to repair what does not.

    The exit code is 0 when segmentation works.
    """
    from napari_medurwkv.cli.checks import examine

    with only_results_on_stdout():
        checks = list(examine())
    works = not any(check.essential and check.status == "problem" for check in checks)
    if as_json:
        show_json({"works": works, "checks": [asdict(check) for check in checks]})
    else:
        table = Table(show_header=False, box=None, pad_edge=False)
        for check in checks:
            add_row(table, SIGNS[check.status], check.name, check.text)
        show_table(table)
        typer.echo("Segmentation works." if works else "Segmentation does not work.")
        # Unwrapped, to be copied.
        for check in checks:
            if check.fix:
                typer.echo(f"Repair {check.name}: {check.fix}")
    if not works:
        raise typer.Exit(USER_ERROR)
