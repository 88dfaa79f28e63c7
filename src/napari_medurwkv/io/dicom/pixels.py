"""Pixels of DICOM slices: decoded, rescaled slice by slice, white always bright."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.dicom.header import DEFLATED, JPEG_LS, STOPS, number, text
from napari_medurwkv.io.dicom.library import library, quiet
from napari_medurwkv.io.limits import check_claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.io.dicom.header import DicomFile
    from napari_medurwkv.io.dicom.slices import Slice

__all__ = ["is_inverted", "read_pixels"]


def is_inverted(slices: Sequence[Slice]) -> bool:
    """Whether large numbers are dark in the file (MONOCHROME1)."""
    return text(slices[0].file.dataset, "PhotometricInterpretation") == "MONOCHROME1"


def read_pixels(slices: Sequence[Slice]) -> NDArray[Any]:
    """Decode slices into intensities.

    Parameters
    ----------
    slices : sequence of Slice
        Of one size.

    Returns
    -------
    (slices, rows, columns) or (slices, rows, columns, 3) ndarray
        Rescaled by each slice's own slope and intercept: whole numbers where these are
        whole (int16, else int32), float32 else. MONOCHROME1 is inverted. Colours are
        RGB, whatever they were.

    Raises
    ------
    ImageError
        If pixels are missing, damaged, of unequal kinds, or packed in a way for which
        no decoder is installed.
    """
    first = slices[0].file
    files = list(dict.fromkeys(one.file for one in slices))
    for file in files:
        file.check_size()
    bits = int(number(first.dataset, "BitsAllocated") or 8)
    size = len(slices) * first.rows * first.columns * max(bits // 8, 1) * first.samples
    stored = sum(file.path.stat().st_size for file in files)
    check_claim(first.path, size, ratio=None, stored=stored)
    values: NDArray[Any] | None = None
    for index, (one, frame) in enumerate(_decoded(slices)):
        ready = _meaning(one, frame)
        if values is None:
            kind = _common_type(slices, ready.dtype)
            values = np.empty((len(slices), *ready.shape), kind)
        if ready.shape != values.shape[1:]:
            raise ImageError(
                f"{one.file.path} holds pixels of another kind than its series."
            )
        scaled = _rescaled(one, ready, values.dtype)
        if scaled.dtype != values.dtype:
            values = values.astype(scaled.dtype)  # the first that needs more bits
        values[index] = scaled
    if values is None:
        raise ImageError(f"{first.path} holds no pixels.")
    return values


def _decoded(slices: Sequence[Slice]) -> Iterator[tuple[Slice, NDArray[Any]]]:
    for file, group in groupby(slices, key=lambda one: one.file):
        members = list(group)
        with quiet():
            try:
                frames = _frames(file, [one.frame or 0 for one in members])
                yield from zip(members, frames, strict=True)
            except (ImageError, MemoryError, *STOPS):
                raise
            except BaseException as error:  # decoders of hostile files raise anything
                raise _undecodable(file.path, error) from error


def _frames(file: DicomFile, indices: list[int]) -> Iterator[NDArray[Any]]:
    pixels = library("pydicom.pixels")
    source: Any = file.path
    if file.transfer_syntax is None:
        source = _with_syntax(file.path)
    elif str(file.transfer_syntax) == DEFLATED:
        source = library("pydicom").dcmread(file.path)
    palette = text(file.dataset, "PhotometricInterpretation") == "PALETTE COLOR"
    lut = library("pydicom").dcmread(file.path, force=True) if palette else None
    plugin = "gdcm" if str(file.transfer_syntax) in JPEG_LS else ""
    for frame in pixels.iter_pixels(source, indices=indices, decoding_plugin=plugin):
        if palette:
            frame = pixels.apply_color_lut(frame, lut)
            if frame.dtype.itemsize > 1:
                frame = (frame >> 8).astype(np.uint8)
        yield frame


def _with_syntax(path: Path) -> Any:
    """Read a file without meta header, as DICOM had them before 1995."""
    pydicom = library("pydicom")
    dataset = pydicom.dcmread(path, force=True)
    implicit, little = dataset.original_encoding
    if implicit:
        uid = pydicom.uid.ImplicitVRLittleEndian
    else:
        uid = pydicom.uid.ExplicitVRLittleEndian
        if not little:
            uid = pydicom.uid.ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = uid
    return dataset


def _meaning(one: Slice, frame: NDArray[Any]) -> NDArray[Any]:
    """Make stored numbers grow with brightness, and colours three."""
    file = one.file
    if frame.shape[:2] != (file.rows, file.columns) or frame.ndim > 3:
        raise ImageError(
            f"{file.path} is damaged: its pixels have the shape {frame.shape}, its "
            f"header states {(file.rows, file.columns)}."
        )
    if frame.ndim == 3:
        return frame[..., :3]
    if text(file.dataset, "PhotometricInterpretation") != "MONOCHROME1":
        return frame
    if frame.dtype.kind != "u":
        return np.asarray(-1 - frame, frame.dtype)
    stored = int(number(file.dataset, "BitsStored") or 8 * frame.dtype.itemsize)
    return np.asarray(((1 << stored) - 1) - frame, frame.dtype)


def _common_type(slices: Sequence[Slice], stored: np.dtype[Any]) -> np.dtype[Any]:
    """Choose the type that the intensities of all slices start with."""
    scales = {(one.slope, one.intercept) for one in slices}
    tables = any(one.file.dataset.get("ModalityLUTSequence") for one in slices)
    if scales == {(1.0, 0.0)} and not tables:
        return stored
    whole = all(s == int(s) and i == int(i) for s, i in scales) and not tables
    if stored.kind not in "iu" or not whole or stored.itemsize > 4:
        return np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)
    return np.dtype(np.int16)


def _rescaled(one: Slice, frame: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Apply a slice's own scale; whole numbers come in the smallest type from `kind`.

    A 16-bit file whose intercept is -1024 seldom uses all that this could give.
    """
    if one.file.dataset.get("ModalityLUTSequence"):
        table = library("pydicom.pixels").apply_modality_lut(frame, one.file.dataset)
        return np.asarray(table, kind)
    if (one.slope, one.intercept) == (1.0, 0.0) and frame.dtype == kind:
        return frame
    if frame.ndim == 3:  # colours have no scale
        return np.asarray(frame, kind)
    if kind.kind == "f":
        return (frame.astype(np.float64) * one.slope + one.intercept).astype(kind)
    ends = np.array([frame.min(), frame.max()], np.int64) * int(one.slope)
    low, high = sorted(int(end) + int(one.intercept) for end in ends)
    for wider in (kind, np.dtype(np.int32), np.dtype(np.int64)):
        limits = np.iinfo(wider)
        # Stored numbers and the scale have to fit as well as what comes out.
        numbers = (low, high, frame.min(), frame.max(), one.slope, one.intercept)
        if all(limits.min <= number <= limits.max for number in numbers):
            scaled = frame.astype(wider)
            scaled *= wider.type(one.slope)
            scaled += wider.type(one.intercept)
            return scaled
    raise ImageError(f"{one.file.path} states a scale that no number can hold.")


def _undecodable(path: Path, error: BaseException) -> ImageError:
    said = str(error)
    if "all missing dependencies" in said or "does not support" in said:
        return ImageError(
            f"{path} is compressed in a way that no installed decoder knows: run "
            'pip install "napari-medurwkv[dicom]", or decompress it, for example with '
            "dcmdjpeg."
        )
    return ImageError(f"{path} is truncated or damaged: its pixels cannot be decoded.")
