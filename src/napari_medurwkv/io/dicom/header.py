"""What is read of a DICOM file's header: where its pixels lie and what they mean.

Patients' names, dates and institutions are not even read.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.dicom.library import library, quiet
from napari_medurwkv.io.limits import check_claim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "DEFLATED",
    "JPEG_LS",
    "DicomFile",
    "modality",
    "number",
    "numbers",
    "open_dicom",
    "text",
]

SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
DEFLATED = "1.2.840.10008.1.2.1.99"
# Decoded by GDCM: pyjpegls 1.5 never comes back from a truncated stream.
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
# Of all that is no Exception only these are no decoder's doing; a panic of one that is
# written in Rust is neither.
STOPS = (KeyboardInterrupt, SystemExit, GeneratorExit)
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
CHUNK = 1 << 20
MOST_FRAMES = 100_000
# How far lossless codecs pack a picture of one value; none that is honest does more.
PACKING = 20_000.0

_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "InstanceNumber",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
    "SpacingBetweenSlices",
    "SequenceOfUltrasoundRegions",
    "GridFrameOffsetVector",
    "FrameIncrementPointer",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "EchoTime",
    "EchoNumbers",
    "TriggerTime",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "DoseGridScaling",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "SegmentSequence",
    "SegmentationType",
)


@dataclass(frozen=True, slots=True, eq=False)
class DicomFile:
    """One file whose header has been read.

    Attributes
    ----------
    path : Path
        The file.
    dataset : pydicom.Dataset
        Of the few elements that are needed; no pixels.
    sop_class_uid, sop_instance_uid : str
        From the data set; from the file's meta header where an anonymiser emptied it.
    """

    path: Path
    dataset: Any
    sop_class_uid: str
    sop_instance_uid: str

    @property
    def rows(self) -> int:
        """Height of a frame."""
        return int(number(self.dataset, "Rows") or 0)

    @property
    def columns(self) -> int:
        """Width of a frame."""
        return int(number(self.dataset, "Columns") or 0)

    @property
    def frames(self) -> int:
        """Number of frames in the file."""
        return int(number(self.dataset, "NumberOfFrames") or 1)

    @property
    def samples(self) -> int:
        """Values per pixel."""
        return int(number(self.dataset, "SamplesPerPixel") or 1)

    @property
    def is_segmentation(self) -> bool:
        """Whether it is a mask in DICOM's own form."""
        return self.sop_class_uid in SEGMENTATION_CLASSES

    @property
    def has_pixels(self) -> bool:
        """Whether it describes an image."""
        return self.rows > 0 and self.columns > 0

    @property
    def transfer_syntax(self) -> Any:
        """How the pixels are packed; None where the file does not say."""
        meta = getattr(self.dataset, "file_meta", None)
        return getattr(meta, "TransferSyntaxUID", None)

    def check_size(self) -> None:
        """Refuse a header that promises more pixels than file or memory can hold.

        Raises
        ------
        ImageError
            With the sentence that says so.
        """
        bits = int(number(self.dataset, "BitsAllocated") or 0)
        if bits not in (1, 8, 16, 32, 64) or self.samples not in (1, 3, 4):
            raise ImageError(
                f"{self.path} has a damaged DICOM header: it states {bits} bits and "
                f"{self.samples} samples per pixel."
            )
        claimed = self.rows * self.columns * self.samples * self.frames * bits // 8
        if text(self.dataset, "PhotometricInterpretation") == "YBR_FULL_422":
            claimed = claimed * 2 // 3  # two pixels share their colour
        syntax = self.transfer_syntax
        try:
            packed = syntax is not None and (
                str(syntax) == DEFLATED or bool(syntax.is_compressed)
            )
        except (AttributeError, ValueError) as error:
            raise ImageError(
                f"{self.path} has a damaged DICOM header: it does not state how its "
                "pixels are packed."
            ) from error
        check_claim(self.path, claimed, ratio=PACKING if packed else 1.0)


def open_dicom(path: Path) -> DicomFile:
    """Read the header of a file; no pixel is touched.

    Raises
    ------
    ImageError
        If it is no DICOM file or its header is damaged.
    """
    pydicom = library("pydicom")
    from pydicom.datadict import tag_for_keyword

    tags = [tag_for_keyword(name) for name in _TAGS]
    with path.open("rb") as stream:
        preamble = stream.read(132)[128:] == b"DICM"
    with quiet():
        try:
            if preamble:
                _check_deflated(path)
            dataset = pydicom.dcmread(
                path, stop_before_pixels=True, force=True, specific_tags=tags
            )
            meta = dataset.file_meta
            classes = (text(dataset, "SOPClassUID"), _meta(meta, "Class"))
            instances = (text(dataset, "SOPInstanceUID"), _meta(meta, "Instance"))
            known = any(name in dataset for name in _TAGS)
        except ImageError:
            raise
        except Exception as error:  # damaged elements raise anything, MemoryError too
            # Without the library's words: they may quote what the file holds.
            raise ImageError(
                f"{path} has a damaged DICOM header: copy it again."
            ) from error
    if classes[1] == DIRECTORY_CLASS:
        raise ImageError(
            f"{path} is the index of a DICOM folder: open the folder that it lies in."
        )
    if not (known or preamble):
        raise ImageError(f"{path} is not a DICOM file: its content is of another kind.")
    file = DicomFile(
        path, dataset, *(next(filter(None, pair), "") for pair in (classes, instances))
    )
    if not 0 < file.frames <= MOST_FRAMES:
        raise ImageError(
            f"{path} has a damaged DICOM header: it states {file.frames} frames."
        )
    return file


def text(dataset: Any, name: str) -> str:
    """Return an element's value as text; "" where it is absent, empty or unreadable."""
    with quiet():
        try:
            value = dataset.get(name)
        except Exception:  # a value that cannot be converted is no value
            return ""
    return "" if value is None else str(value)


def number(dataset: Any, name: str) -> float | None:
    """Return an element's value as a number; None where it has none."""
    found = numbers(dataset, name)
    return found[0] if found else None


def numbers(dataset: Any, name: str, count: int | None = None) -> tuple[float, ...]:
    """Return an element's values as finite numbers.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Where to look.
    name : str
        The element's keyword.
    count : int, optional
        How many there must be.

    Returns
    -------
    tuple of float
        Empty where there are none, others than `count`, or some are no numbers.
    """
    with quiet():
        try:
            value = dataset.get(name)
            if value is None or value == "":
                return ()
            items: Sequence[Any] = np.atleast_1d(np.asarray(value)).tolist()
            found = tuple(float(item) for item in items)
        except Exception:  # a value that cannot be converted is no value
            return ()
    if not all(math.isfinite(item) for item in found):
        return ()
    return found if count is None or len(found) == count else ()


def _check_deflated(path: Path) -> None:
    """Unpack a deflated file piece by piece, before pydicom does it all at once."""
    meta = library("pydicom.filereader").read_file_meta_info(path)
    if text(meta, "TransferSyntaxUID") != DEFLATED:
        return
    length = number(meta, "FileMetaInformationGroupLength")
    with path.open("rb") as stream:
        stream.seek(144 + int(length or 0))  # preamble, magic and this element itself
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        size = 0
        while not unpacker.eof:
            chunk = unpacker.unconsumed_tail or stream.read(CHUNK)
            if not chunk:
                break
            size += len(unpacker.decompress(chunk, CHUNK))
            check_claim(path, size, ratio=None)


def _meta(meta: Any, which: str) -> str:
    return text(meta, f"MediaStorageSOP{which}UID")


def modality(dataset: Any) -> str:
    """Return the modality; "" where it is absent or no code.

    In a damaged file the element may have swallowed those after it, with the patient's
    name, which must get into no message.
    """
    stated = text(dataset, "Modality").strip()
    return stated if re.fullmatch("[A-Z0-9_ ]{1,16}", stated) else ""
