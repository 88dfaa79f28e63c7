"""What is kept of the file that an array came from."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["SourceInfo"]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is kept of the file that an array came from.

    Parameters
    ----------
    format : str
        ``"nifti"``, ``"png"``, ``"jpeg"``, ``"tiff"``, ``"layer"`` or ``"array"``.
    path : str or None
        The file.
    sha256 : str or None
        Digest of the file, where it was computed.
    header : bytes or None
        The binary NIfTI header (348 or 540 bytes), as read.
    shape : tuple of int or None
        Shape of the whole array in the file: singleton, time and colour axes included.
    frame : int or None
        Which frame of a 4D file was read.
    exif_orientation : int
        EXIF (or TIFF) orientation tag, 1 to 8, of a raster image.
    """

    format: str = "array"
    path: str | None = None
    sha256: str | None = None
    header: bytes | None = None
    shape: tuple[int, ...] | None = None
    frame: int | None = None
    exif_orientation: int = 1

    @property
    def ndim(self) -> int | None:
        """Number of axes of the array in the file."""
        return None if self.shape is None else len(self.shape)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that `from_json` turns into an equal object."""
        data = asdict(self)
        if self.header is not None:
            data["header"] = base64.b64encode(self.header).decode("ascii")
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SourceInfo:
        """Build what `to_json` described.

        Raises
        ------
        TypeError, ValueError
            If the dict is not such a description.
        """
        fields = dict(data)
        if fields.get("header") is not None:
            fields["header"] = base64.b64decode(fields["header"], validate=True)
        if fields.get("shape") is not None:
            fields["shape"] = tuple(int(n) for n in fields["shape"])
        return cls(**fields)
