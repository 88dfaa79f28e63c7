"""The fingerprint of a file, for provenance."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medurwkv.source_info import SourceInfo

__all__ = ["file_sha256", "source_sha256"]


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def source_sha256(source: SourceInfo) -> str | None:
    """SHA-256 of the file or files that an image came from, in hexadecimal.

    Parameters
    ----------
    source : SourceInfo
        Of the image's geometry.

    Returns
    -------
    str or None
        Of a DICOM series the digest of all its files' bytes, in slice order; None where
        there is no file.
    """
    if source.dicom is not None:
        digest = hashlib.sha256()
        for name in source.dicom.files:
            digest.update(Path(name).read_bytes())
        return digest.hexdigest()
    if source.path is None or not Path(source.path).is_file():
        return None
    return file_sha256(source.path)
