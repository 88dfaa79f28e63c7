"""Where results go; what cannot be written there is said before the work begins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_medurwkv.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_mask_target", "check_record_target", "check_target"]

MASK_ENDINGS = (
    *(".nii.gz", ".nii", ".seg.nrrd", ".dcm", ".tif", ".tiff"),
    *(".ome.tif", ".ome.tiff", ".ome.zarr"),
)
"""Endings of files that keep every voxel of a mask."""


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that could not be written after the work is done.

    Raises
    ------
    OutputError
        If it exists and may not be replaced, is a folder, or its folder is missing or
        may not be written to.
    """
    try:
        path.exists()
    except OSError as error:  # too long
        raise OutputError(f"{path} is no name that a file can have.") from error
    if path.is_dir() and path.suffix != ".zarr":
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
    endings = MASK_ENDINGS if dimensions == 3 else (*MASK_ENDINGS, ".png")
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
    from napari_medurwkv.provenance import is_record

    check_target(path, overwrite=overwrite)
    if path.exists() and not is_record(path):
        raise OutputError(
            f"{path} is no record of this program and is not replaced; choose another "
            "name for the mask."
        )
