"""The chain of a TIFF's pages, walked before anything is read from them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from napari_medurwkv.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from tifffile import TiffFile

__all__ = ["check_pages"]


def check_pages(path: Path, file: TiffFile) -> None:
    """Refuse a file whose pages lead back to one before: its end is never reached.

    Each page says where the next one is described. tifffile notices a circle only where
    it has been told to index all pages, and else reads around in it for ever.

    Parameters
    ----------
    path : Path
        Name of the file, for the sentence.
    file : TiffFile
        Opened.

    Raises
    ------
    ImageError
        If two pages have the same place.
    """
    form = file.tiff
    handle = file.filehandle
    offset = int(file.pages.first.offset)
    seen: set[int] = set()
    while 0 < offset < handle.size:
        if offset in seen:
            raise ImageError(
                f"{path} is damaged (its pages lead in a circle): copy it again."
            )
        seen.add(offset)
        handle.seek(offset)
        count = handle.read(form.tagnosize)
        if len(count) < form.tagnosize:
            return  # cut off; tifffile finds that out as well
        tags = int(struct.unpack(form.tagnoformat, count)[0])
        handle.seek(offset + form.tagnosize + tags * form.tagsize)
        following = handle.read(form.offsetsize)
        if len(following) < form.offsetsize:
            return
        offset = int(struct.unpack(form.offsetformat, following)[0])
