"""What is kept of the file that an array came from."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["DicomSource", "SourceInfo"]


@dataclass(frozen=True, slots=True)
class DicomSource:
    """Which DICOM instances an array came from, so that a mask can refer to them.

    Says nothing of the patient. Unique identifiers and file names may still contain
    dates or names, so none of this goes into an exported file but DICOM.

    Parameters
    ----------
    files : tuple of str
        Absolute paths in slice order: one per slice, or the one multi-frame file.
    frames : tuple of int or None
        Of a multi-frame file: the number of each slice's frame, from 0.
    sop_instance_uids : tuple of str
        One per file, as stored: empty or repeated where an anonymiser was careless.
    series_instance_uid, study_instance_uid, frame_of_reference_uid : str
        As stored, empty where absent.
    modality : str
        Such as "CT".
    inverted : bool
        Whether MONOCHROME1 was inverted, so that large numbers are bright.
    """

    files: tuple[str, ...]
    frames: tuple[int, ...] | None = None
    sop_instance_uids: tuple[str, ...] = ()
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    frame_of_reference_uid: str = ""
    modality: str = ""
    inverted: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DicomSource:
        """Build what `dataclasses.asdict` described, JSON's lists for tuples."""
        fields = dict(data)
        for name in ("files", "sop_instance_uids"):
            fields[name] = tuple(str(item) for item in fields[name])
        if fields.get("frames") is not None:
            fields["frames"] = tuple(int(n) for n in fields["frames"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is kept of the file that an array came from.

    Parameters
    ----------
    format : str
        ``"nifti"``, ``"nrrd"``, ``"metaimage"``, ``"mgh"``, ``"dicom"``, ``"png"``,
        ``"jpeg"``, ``"tiff"``, ``"zarr"``, ``"layer"`` or ``"array"``.
    path : str or None
        The file; the folder of a DICOM series.
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
    dicom : DicomSource or None
        The instances of a DICOM image.
    """

    format: str = "array"
    path: str | None = None
    sha256: str | None = None
    header: bytes | None = None
    shape: tuple[int, ...] | None = None
    frame: int | None = None
    exif_orientation: int = 1
    dicom: DicomSource | None = None

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
        if fields.get("dicom") is not None:
            fields["dicom"] = DicomSource.from_json(fields["dicom"])
        return cls(**fields)
