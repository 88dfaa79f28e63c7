"""Headers of the source images, made ready to be referred to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError, OutputError
from napari_medurwkv.io.dicom import source_datasets
from napari_medurwkv.io.dicom.library import quiet

if TYPE_CHECKING:
    from napari_medurwkv.geometry import Geometry

__all__ = ["NO_PLACES", "prepared_sources", "unplaced_frames"]

NO_PLACES = (
    "DICOM SEG refers to places, and the frames of this film or ultrasound volume "
    "state none; save the mask as {} instead"
)

# What every image has to hold, though empty; not every one does.
_REQUIRED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName",),
)
_SHARED = ("PixelMeasuresSequence", "PlaneOrientationSequence")
_DATES = ("PatientBirthDate", "StudyDate")
_RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"


def prepared_sources(geometry: Geometry) -> list[Any]:
    """Read the source headers and state in them what a segmentation needs.

    Nothing on the disk is changed. Of a multi-frame file with several time points or
    stacks only the frames of the image stay, in the file's order. The distance of
    slices is that of their positions, which SliceThickness often is not; what all
    frames of a multi-frame file have in common is told once; frames of older
    multi-frame files (dose grids) get the places that the geometry knows. Texts are in
    UTF-8 from here on, dates and times in the form that the standard asks for, or
    empty.

    Parameters
    ----------
    geometry : Geometry
        Of an image that was read from DICOM.

    Raises
    ------
    OutputError
        If the files are gone or cannot be referred to.
    """
    try:
        datasets, _ = source_datasets(geometry)
    except ImageError as error:
        raise OutputError(str(error)) from error
    placed = geometry.kind == "patient"
    distance = geometry.spacing[2] if placed and geometry.ndim == 3 else None
    for dataset in datasets:
        for name in _REQUIRED:
            if name not in dataset:
                setattr(dataset, name, None)
        with quiet():
            _tidy(dataset)
        if "SharedFunctionalGroupsSequence" not in dataset and _has_frames(dataset):
            _describe_frames(dataset, geometry)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            _keep_frames(dataset, geometry)
        if "SharedFunctionalGroupsSequence" in dataset:
            _share(dataset)
            measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
            _state_distance(measures[0], distance)
        else:
            if geometry.kind == "pixel-size-only" and "PixelSpacing" not in dataset:
                # Radiographs state it under other names.
                dataset.PixelSpacing = [_short(size) for size in geometry.spacing]
            _state_distance(dataset, distance)
    return datasets


def unplaced_frames(geometry: Geometry) -> bool:
    """Whether an image is of several frames in one file that say not where they lie."""
    source = geometry.source
    if source.dicom is None or source.dicom.frames is None:
        return False
    several = source.frame is not None or geometry.ndim == 3
    return several and geometry.kind != "patient"


def _tidy(dataset: Any) -> None:
    """Bring texts into one character set, and dates and times into their form."""
    from pydicom.valuerep import DA, TM

    try:
        dataset.decode()
    except (LookupError, UnicodeError, ValueError, AttributeError) as error:
        raise OutputError(
            "The images state their texts in a character set that is not known, so a "
            "DICOM mask cannot repeat them: save the mask as NIfTI or NRRD."
        ) from error
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for name in (*_DATES, "StudyTime"):
        stated = str(dataset.get(name) or "")
        plain = stated.translate({ord(mark): None for mark in ":.-/ "})
        whole = plain if name in _DATES or "." not in stated else stated
        try:
            (DA if name in _DATES else TM)(whole)
        except ValueError:
            whole = ""
        setattr(dataset, name, whole or None)


def _has_frames(dataset: Any) -> bool:
    many = int(dataset.get("NumberOfFrames") or 1) > 1
    return many or dataset.SOPClassUID == _RT_DOSE


def _describe_frames(dataset: Any, geometry: Geometry) -> None:
    """Say of each frame where it lies, as an enhanced multi-frame file would."""
    from pydicom.dataset import Dataset

    dicom = geometry.source.dicom
    count = int(dataset.get("NumberOfFrames") or 1)
    depth = geometry.shape[2] if geometry.ndim == 3 else 1
    if geometry.kind != "patient" or dicom is None or count != depth:
        # A film is refused before (`unplaced_frames`); here frames and places differ.
        raise OutputError(
            "The frames of the image are not those of the file any more, so a DICOM "
            "mask cannot refer to them: save the mask as NIfTI or TIFF."
        )
    affine = geometry.lps_affine
    measures, directions, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [_short(size) for size in reversed(geometry.spacing[:2])]
    units = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    directions.ImageOrientationPatient = [_short(x) for x in units.T.ravel()]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [directions]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = [Dataset() for _ in range(count)]
    for k, number in enumerate(dicom.frames or range(count)):
        place = Dataset()
        origin = affine[:3, 3] + (k * affine[:3, 2] if count > 1 else 0)
        place.ImagePositionPatient = [_short(x) for x in origin]
        frames[number].PlanePositionSequence = [place]
    dataset.PerFrameFunctionalGroupsSequence = frames


def _keep_frames(dataset: Any, geometry: Geometry) -> None:
    """Leave out the frames of other times and stacks."""
    dicom = geometry.source.dicom
    if dicom is None or dicom.frames is None:
        return
    groups = dataset.PerFrameFunctionalGroupsSequence
    kept = sorted(dicom.frames)
    if kept and kept[-1] >= len(groups):
        raise OutputError(
            "The DICOM file of the image has changed since it was opened: open it "
            "again."
        )
    if len(kept) < len(groups):
        dataset.PerFrameFunctionalGroupsSequence = [groups[n] for n in kept]
        dataset.NumberOfFrames = len(kept)


def _state_distance(item: Any, distance: float | None) -> None:
    if distance is not None:
        item.SpacingBetweenSlices = _short(distance)
    if not item.get("SliceThickness"):
        item.SliceThickness = _short(distance or 1.0)


def _short(number: float) -> str:
    """Write a number in the 16 characters that DICOM allows."""
    return f"{number:.10g}"


def _share(dataset: Any) -> None:
    """Lift what all frames state alike into the shared group."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.PerFrameFunctionalGroupsSequence
    for name in _SHARED:
        if name in shared:
            continue
        stated = [frame.get(name) for frame in frames]
        if stated[0] is None or any(one != stated[0] for one in stated):
            raise OutputError(
                "The frames of the image differ in size or direction, so a DICOM mask "
                "cannot refer to them: save the mask as NIfTI or NRRD."
            )
        setattr(shared, name, stated[0])
        for frame in frames:
            delattr(frame, name)
