"""DICOM segmentations: a mask with the names and colours of its segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import GeometryError, ImageError
from napari_medurwkv.geometry import DicomSource, Geometry, SourceInfo
from napari_medurwkv.io.dicom.header import JPEG_LS, STOPS, open_dicom, text
from napari_medurwkv.io.dicom.library import library, quiet
from napari_medurwkv.io.image import Image
from napari_medurwkv.io.label_names import LabelName, default_color
from napari_medurwkv.io.limits import check_claim

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_segmentation"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_segmentation(path: Path) -> Image:
    """Read a segmentation; slices that it leaves out between others are empty.

    Parameters
    ----------
    path : Path
        A file of type BINARY or LABELMAP.

    Returns
    -------
    Image
        Values are segment numbers; `Image.classes` names them.

    Raises
    ------
    ImageError
        If the file is damaged, holds probabilities or overlapping segments.
    """
    header = open_dicom(path)
    header.check_size()
    if text(header.dataset, "SegmentationType").upper() == "FRACTIONAL":
        raise ImageError(
            f"{path} holds probabilities, not a mask: export it as a binary one."
        )
    pixels = header.rows * header.columns * header.frames
    check_claim(path, pixels, ratio=None)  # a byte for each of its bits
    seg = library("highdicom.seg")
    with quiet():
        try:
            dataset = library("pydicom").dcmread(path)
            if str(header.transfer_syntax) in JPEG_LS:
                dataset.decompress(decoding_plugin="gdcm")
            file = seg.Segmentation.from_dataset(dataset, copy=False)
            plain = not _is_placed(file)
            if plain:
                array, affine = _plane(file), np.eye(4)
            else:
                volume = file.get_volume(combine_segments=True)
                array = np.asarray(volume.array)
                affine = np.asarray(volume.affine, dtype=np.float64)
            classes = tuple(
                _label_name(file.get_segment_description(int(number)))
                for number in file.segment_numbers
                if int(number) > 0
            )
        except (MemoryError, *STOPS):
            raise
        except BaseException as error:  # highdicom checks as it goes along
            raise ImageError(
                f"{path} cannot be read as a mask: {_why(error)}"
            ) from error
    # highdicom counts (slice, row, column), this program (column, row, slice).
    columns, rows, slices = reversed(array.shape)
    affine = affine[:, [2, 1, 0, 3]]
    # Slices are counted along the normal of rows and columns, as those of images are.
    if np.linalg.det(affine[:3, :3]) < 0:
        array = array[::-1]
        affine[:3, 3] = _first_position(file, affine, slices)
        affine[:3, 2] *= -1
    if slices == 1:  # a plane's normal has length 1, however thick the slice is
        affine[:3, 2] /= np.linalg.norm(affine[:3, 2])
    affine = LPS_TO_RAS @ affine
    size = (columns, rows, slices) if slices > 1 else (columns, rows)
    source = SourceInfo(
        "dicom",
        str(path.absolute()),
        shape=(rows, columns) if plain else size,
        dicom=DicomSource(
            files=(str(path.absolute()),),
            sop_instance_uids=(text(header.dataset, "SOPInstanceUID"),),
            series_instance_uid=text(header.dataset, "SeriesInstanceUID"),
            study_instance_uid=text(header.dataset, "StudyInstanceUID"),
            frame_of_reference_uid=text(header.dataset, "FrameOfReferenceUID"),
            modality="SEG",
        ),
    )
    if plain:
        spacing = _pixel_size(file)
        geometry = Geometry.plain((rows, columns), spacing, "mm", source=source)
        return Image(array[0], geometry, False, path.stem, (), classes)
    try:
        geometry = Geometry.from_affine(affine, size, source=source)
    except GeometryError as error:
        raise ImageError(
            f"{path} does not say where its voxels are ({error}): export it again."
        ) from error
    turned = array.T if slices > 1 else array[0].T
    return Image(geometry.to_display(turned), geometry, False, path.stem, (), classes)


def _groups(file: Any) -> list[Any]:
    """Return what is said of all frames, then of each."""
    shared = file.SharedFunctionalGroupsSequence
    return [*shared, *file.PerFrameFunctionalGroupsSequence]


def _is_placed(file: Any) -> bool:
    return any("PlanePositionSequence" in group for group in _groups(file))


def _plane(file: Any) -> NDArray[Any]:
    """Lay the segments of a picture without a place (a radiograph) over each other.

    Returns
    -------
    (1, rows, columns) ndarray
        Segment numbers.
    """
    frames = np.asarray(file.pixel_array).reshape(-1, int(file.Rows), int(file.Columns))
    if str(file.SegmentationType) != "BINARY":
        if len(frames) > 1:
            raise ValueError("frames without places are no volume")
        return frames
    (shared,) = file.SharedFunctionalGroupsSequence
    plane = np.zeros((1, *frames.shape[1:]), np.uint16)
    seen = set()
    for frame, own in zip(frames, file.PerFrameFunctionalGroupsSequence, strict=True):
        group = own if "SegmentIdentificationSequence" in own else shared
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if number in seen:
            raise ValueError("frames without places are no volume")
        seen.add(number)
        inside = frame > 0
        if plane[0][inside].any():
            raise ValueError("segments overlap")
        plane[0][inside] = number
    return plane


def _pixel_size(file: Any) -> tuple[float, float] | None:
    """Return mm along rows and columns, if it is stated."""
    for group in _groups(file):
        stated = group.get("PixelMeasuresSequence")
        if stated and stated[0].get("PixelSpacing"):
            down, across = (float(size) for size in stated[0].PixelSpacing)
            return (down, across) if down > 0 and across > 0 else None
    return None


def _first_position(
    file: Any, affine: NDArray[np.float64], slices: int
) -> NDArray[np.float64]:
    """Return where the last slice of a volume lies: as a frame states it, if one does.

    Steps from the first slice get there too, but with the rounding of each step.
    """
    last = affine[:3, 3] + (slices - 1) * affine[:3, 2]
    for frame in file.PerFrameFunctionalGroupsSequence:
        place = frame.get("PlanePositionSequence")
        stated = place[0].ImagePositionPatient if place else ()
        position = np.array(stated, dtype=np.float64)
        if len(position) == 3 and np.abs(position - last).max() < 1e-2:
            return position
    return np.asarray(last)


def _label_name(segment: Any) -> LabelName:
    value = int(segment.segment_number)
    kind = segment.segmented_property_type
    code = f"{kind.scheme_designator}^{kind.value}^{kind.meaning}"
    return LabelName(value, str(segment.segment_label), _color(segment, value), code)


def _color(segment: Any, value: int) -> str:
    """Turn the recommended CIELab colour into sRGB."""
    stated = segment.get("RecommendedDisplayCIELabValue")
    if stated is None or len(stated) != 3:
        return default_color(value)
    color = library("highdicom.color").CIELabColor
    with quiet():
        red, green, blue = color.from_dicom_value(stated).to_rgb(clip=True)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _why(error: BaseException) -> str:
    """Say what highdicom found, without its words: they may quote the file."""
    said = str(error).lower()
    if "overlap" in said:
        return "its segments overlap, and a mask has one value per voxel."
    if "regularly" in said or "spaced" in said or "volume" in said:
        return "its slices are on no regular grid."
    return "it is damaged, or breaks the rules of DICOM segmentations."
