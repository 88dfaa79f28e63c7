"""Headers of the source images, made ready to be referred to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import ImageError, OutputError
from napari_medurwkv.io.dicom import source_datasets

if TYPE_CHECKING:
    from napari_medurwkv.geometry import Geometry

__all__ = ["prepared_sources"]

# What every image has to hold, though empty; not every one does.
_REQUIRED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName",),
)
_SHARED = ("PixelMeasuresSequence", "PlaneOrientationSequence")


def prepared_sources(geometry: Geometry) -> list[Any]:
    """Read the source headers and state in them what a segmentation needs.

    Nothing on the disk is changed. The distance of slices is that of their positions,
    which SliceThickness often is not; what all frames of a multi-frame file have in
    common is told once.

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
    distance = geometry.spacing[2] if geometry.ndim == 3 else None
    for dataset in datasets:
        for name in _REQUIRED:
            if name not in dataset:
                setattr(dataset, name, None)
        if "SharedFunctionalGroupsSequence" in dataset:
            _share(dataset)
            measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
            _state_distance(measures[0], distance)
        else:
            _state_distance(dataset, distance)
    return datasets


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
