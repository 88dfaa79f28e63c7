"""What needs torch to be known of a checkpoint, asked of another process.

Importing torch stops the window for seconds, and a file from anywhere is better looked
into where it can do no harm.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import CatalogueEntry

__all__ = ["add_model", "look_at"]

_PATIENCE = 600


def look_at(path: Path) -> CatalogueEntry | dict[str, Any]:
    """Read the card in or beside a file; without one, find out what the file is.

    Returns
    -------
    CatalogueEntry or dict
        The dict is what ``medurwkv inspect --json`` says.

    Raises
    ------
    CheckpointError
        It is no checkpoint that can be used.
    """
    from napari_medurwkv.checkpoints import find
    from napari_medurwkv.checkpoints.examine import described

    if described(path) is None:
        facts: dict[str, Any] = _ask("inspect", str(path), "--json")
        return facts
    entry = find(path)
    entry.sha256  # noqa: B018 - computed once, kept by the catalogue
    return entry


def add_model(path: Path, options: list[str]) -> CatalogueEntry:
    """Bring a file into the user's folder, with answers given as options.

    Raises
    ------
    CheckpointError
        The answers contradict the file, or the folder cannot be written to.
    """
    from napari_medurwkv.checkpoints import find

    added = _ask("models", "add", str(path), *options, "--json")
    entry = find(Path(added["path"]))
    entry.sha256  # noqa: B018 - computed once, kept by the catalogue
    return entry


def _ask(*words: str) -> Any:
    """Run ``medurwkv`` in a process of its own; return the document that it prints."""
    done = subprocess.run(  # noqa: S603 - our own program, no shell
        [sys.executable, "-P", "-m", "napari_medurwkv.cli", *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["the process ended unexpectedly"]
        sentences = [line for line in lines if line.startswith("Error: ")] or lines[-1:]
        raise CheckpointError(sentences[-1].removeprefix("Error: "))
    return json.loads(done.stdout)
