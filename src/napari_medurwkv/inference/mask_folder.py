"""Where masks lie that are too large for memory."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from napari_medurwkv.errors import OutputError
from napari_medurwkv.inference.processes import alive

__all__ = ["mask_folder", "new_mask_path"]


def mask_folder() -> Path:
    """Return the user's folder for masks that live as long as the program."""
    import platformdirs

    return Path(platformdirs.user_cache_path("napari-medurwkv")) / "masks"


def new_mask_path(folder: Path | None = None) -> Path:
    """Name a place for a mask, and remove those of programs that have ended.

    Parameters
    ----------
    folder : Path, optional
        `mask_folder()` by default; made if it is not there, for this user alone.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """
    where = mask_folder() if folder is None else folder
    try:
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in where.iterdir():
            number = old.name.partition("-")[0]
            if number.isdigit() and not alive(int(number)):
                shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"The folder {where} for large masks cannot be used ({error.strerror})."
        ) from error
    return where / f"{os.getpid()}-{uuid.uuid4().hex}"
