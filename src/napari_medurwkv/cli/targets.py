"""Where results go; what cannot be written there is said before the work begins."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from napari_medurwkv.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_mask_target", "check_record_target", "check_target"]


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that could not be written after the work is done.

    Raises
    ------
    OutputError
        If it exists and may not be replaced, is a folder, or its folder is missing or
        may not be written to.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file in it.")
    if not path.parent.is_dir():
        raise OutputError(
            f"The folder {path.parent} does not exist; make it, or choose another."
        )
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"The folder {path.parent} may not be written to; choose another one."
        )
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already; add --overwrite to replace it, or choose another "
            "name."
        )


def check_mask_target(path: Path, dimensions: int, *, overwrite: bool) -> None:
    """Refuse a file that a mask of so many dimensions cannot be written to.

    Raises
    ------
    OutputError
        As `check_target`, or if the ending is none that masks are written as.
    """
    from napari_medurwkv.io import label_suffixes

    endings = label_suffixes()
    if dimensions == 3:
        endings = tuple(ending for ending in endings if ending != ".png")
    if not path.name.lower().endswith(endings):
        raise OutputError(
            f"A {dimensions}D mask cannot be written as {path.name}; give it one of "
            f"the endings {', '.join(endings)}."
        )
    check_target(path, overwrite=overwrite)


def check_record_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a place for a record where a JSON file of another program lies.

    Raises
    ------
    OutputError
        As `check_target`, or if the file there is no record of a run.
    """
    from napari_medurwkv.provenance import RunRecord

    check_target(path, overwrite=overwrite)
    if not path.exists():
        return
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError):
        fields = None
    kind = RunRecord.model_fields["kind"].default
    if not isinstance(fields, dict) or fields.get("kind") != kind:
        raise OutputError(
            f"{path} is no record of this program and is not replaced; choose another "
            "name for the mask."
        )
