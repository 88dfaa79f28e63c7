"""The planes of a DICOM image: one per file, or one per frame of a multi-frame file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.dicom.header import DicomFile, number, numbers, text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FRAME_KEYS", "Slice", "slices_of"]

# What may tell the frames of a 4D image apart, the most telling first.
FRAME_KEYS = (
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "EchoTime",
    "EchoNumbers",
    "TriggerTime",
    "ImageType",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "InstanceNumber",
)

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One plane.

    Attributes
    ----------
    file : DicomFile
        Where it is.
    frame : int or None
        Number of its frame, from 0, in a multi-frame file.
    position : tuple of 3 float, or None
        Centre of the first pixel, LPS mm.
    orientation : tuple of 6 float, or None
        Directions of a row and of a column, LPS.
    spacing : tuple of 2 float, or None
        Distance of rows and of columns, mm.
    slope, intercept : float
        From stored numbers to intensities.
    keys : mapping
        Of `FRAME_KEYS` those that are stated.
    """

    file: DicomFile
    frame: int | None
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    slope: float = 1.0
    intercept: float = 0.0
    keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def normal(self) -> Any:
        """(3,) ndarray, direction in which slices are counted; needs an orientation."""
        directions = np.asarray(self.orientation)
        return np.cross(directions[:3], directions[3:])


def slices_of(file: DicomFile) -> list[Slice]:
    """List the planes of a file, with what the file says of each.

    Raises
    ------
    ImageError
        If a multi-frame file does not describe each of its frames, or its description
        is damaged.
    """
    try:
        return _slices_of(file)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # nested elements are decoded as they are asked for
        raise ImageError(
            f"{file.path} has a damaged DICOM header: copy it again."
        ) from error


def _slices_of(file: DicomFile) -> list[Slice]:
    dataset = file.dataset
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame:
        return _enhanced(file, per_frame)
    position = numbers(dataset, "ImagePositionPatient", 3) or None
    orientation = _directions(numbers(dataset, "ImageOrientationPatient", 6))
    one = Slice(
        file, None, position, orientation, _spacing(dataset), *_rescale(dataset)
    )
    count = file.frames
    if count == 1:
        return [replace(one, keys=_keys(dataset))]
    offsets = numbers(dataset, "GridFrameOffsetVector", count)
    if offsets and position and orientation:
        # Offsets are counted from the first plane, whatever the first number is.
        steps = [offset - offsets[0] for offset in offsets]
        places = [np.asarray(position) + step * one.normal for step in steps]
        return [
            replace(one, frame=index, position=tuple(place.tolist()))
            for index, place in enumerate(places)
        ]
    return [
        replace(one, frame=index, position=None, keys={"InstanceNumber": index})
        for index in range(count)
    ]


def _enhanced(file: DicomFile, per_frame: Any) -> list[Slice]:
    if len(per_frame) != file.frames:
        raise ImageError(
            f"{file.path} has a damaged DICOM header: it describes {len(per_frame)} of "
            f"its {file.frames} frames."
        )
    shared = file.dataset.get("SharedFunctionalGroupsSequence")
    common = shared[0] if shared else None
    found = []
    for index, own in enumerate(per_frame):

        def group(name: str, own: Any = own) -> Any:
            """Return a functional group: the frame's own before the shared one."""
            for holder in (own, common):
                sequence = holder.get(name) if holder is not None else None
                if sequence:
                    return sequence[0]
            return {}

        place = numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3)
        turned = numbers(
            group("PlaneOrientationSequence"), "ImageOrientationPatient", 6
        )
        slope, intercept = _rescale(group("PixelValueTransformationSequence"))
        measures = group("PixelMeasuresSequence")
        found.append(
            Slice(
                file=file,
                frame=index,
                position=place or None,
                orientation=_directions(turned),
                spacing=_positive(numbers(measures, "PixelSpacing", 2)),
                slope=slope,
                intercept=intercept,
                keys=_enhanced_keys(group, index),
            )
        )
    return found


def _enhanced_keys(group: Any, index: int) -> dict[str, Any]:
    content = group("FrameContentSequence")
    diffusion = group("MRDiffusionSequence")
    gradient = diffusion.get("DiffusionGradientDirectionSequence") if diffusion else ()
    stated = {
        "TemporalPositionIdentifier": number(content, "TemporalPositionIndex"),
        "DiffusionBValue": number(diffusion, "DiffusionBValue"),
        "DiffusionGradientOrientation": numbers(
            gradient[0] if gradient else {}, "DiffusionGradientOrientation", 3
        ),
        "EchoTime": number(group("MREchoSequence"), "EffectiveEchoTime"),
        "TriggerTime": number(
            group("CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime"
        ),
        "InstanceNumber": index,
    }
    return {name: value for name, value in stated.items() if value not in (None, ())}


def _keys(dataset: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in FRAME_KEYS:
        value: Any = numbers(dataset, name)
        if name == "ImageType":
            value = text(dataset, name)
        if value not in ((), ""):
            found[name] = value[0] if len(value) == 1 else value
    return found


def _rescale(dataset: Any) -> tuple[float, float]:
    slope = number(dataset, "RescaleSlope") or number(dataset, "DoseGridScaling")
    intercept = number(dataset, "RescaleIntercept")
    return (slope if slope else 1.0, intercept or 0.0)


def _directions(stated: Vector) -> Vector | None:
    """Two perpendicular unit vectors, else None."""
    if len(stated) != 6:
        return None
    both = np.reshape(stated, (2, 3))
    lengths = np.linalg.norm(both, axis=1)
    if lengths.min() < 0.9 or lengths.max() > 1.1 or abs(both[0] @ both[1]) > 1e-2:
        return None
    return tuple((both / lengths[:, None]).ravel().tolist())


def _positive(stated: Vector) -> Vector | None:
    return stated if stated and min(stated) > 0 else None


def _spacing(dataset: Any) -> Vector | None:
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = _positive(numbers(dataset, name, 2))
        if found:
            return found
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    if len(regions) == 1:
        centimetres = 3
        deltas = [number(regions[0], f"PhysicalDelta{axis}") for axis in "YX"]
        units = [number(regions[0], f"PhysicalUnits{axis}Direction") for axis in "YX"]
        if units == [centimetres, centimetres] and all(deltas):
            return tuple(abs(delta or 0.0) * 10 for delta in deltas)
    return None
