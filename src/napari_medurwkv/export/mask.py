"""A mask that is to be written, with everything that formats have room for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medurwkv.affine import with_normal
from napari_medurwkv.checkpoints.card import ClassInfo, CodedConcept
from napari_medurwkv.errors import GeometryError
from napari_medurwkv.io import default_color, smallest_labels
from napari_medurwkv.io.volume import as_volume

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io import LabelName
    from napari_medurwkv.provenance import RunRecord

__all__ = [
    "ExportMask",
    "ExportOptions",
    "class_infos",
    "volume_grid",
    "with_spacing",
]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a user may choose about exports.

    Parameters
    ----------
    space : {"LPS", "RAS"}
        World of surfaces: LPS is DICOM's, ITK's and 3D Slicer's, RAS is NIfTI's.
    deidentify : bool
        Leave the patient's identity, dates and institution out of DICOM SEG.
    labelmap : bool
        DICOM SEG of type LABELMAP, which few programs read yet, in place of BINARY.
    """

    space: Literal["LPS", "RAS"] = "LPS"
    deidentify: bool = False
    labelmap: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ExportMask:
    """A mask that is to be written.

    Parameters
    ----------
    labels : ndarray of integers
        In display order of `geometry`; brought to the smallest unsigned type.
    geometry : Geometry
        Of the image that the mask belongs to.
    classes : tuple of ClassInfo
        What the values mean; background may be among them. Values that are no class
        get a name and a colour of their own. Of object numbers: what the objects are.
    instances : bool
        Whether the values number objects.
    image : ndarray or None
        Grey values in the same order, for measurements.
    record : RunRecord or None
        How a model made the mask; None where none did.
    changed : int or None
        Voxels changed by hand since; None where that is not known.
    correction : mapping or None
        What was done by hand, for the record; None where nothing is known of it.
    """

    labels: NDArray[Any]
    geometry: Geometry
    classes: tuple[ClassInfo, ...] = ()
    instances: bool = False
    image: NDArray[Any] | None = None
    record: RunRecord | None = None
    changed: int | None = None
    correction: Mapping[str, Any] | None = None
    _segments: tuple[ClassInfo, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.display_shape:
            raise GeometryError(
                f"The mask has shape {self.labels.shape}, but its image is displayed "
                f"as {self.geometry.display_shape}: they do not belong together."
            )
        set_field = object.__setattr__
        classes = () if self.instances else self.classes
        set_field(self, "labels", smallest_labels(self.labels, classes))
        set_field(self, "_segments", self._name_values())

    @property
    def segments(self) -> tuple[ClassInfo, ...]:
        """A name and a colour for every value but 0, ascending; absent classes too."""
        return self._segments

    @property
    def stored_classes(self) -> tuple[ClassInfo, ...]:
        """Classes whose values the file's number type must hold."""
        return () if self.instances else self.classes

    @property
    def made_by(self) -> Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]:
        """DICOM's word for how it was made; unknown changes count as changes."""
        if self.record is None:
            return "MANUAL"
        return "AUTOMATIC" if self.changed == 0 else "SEMIAUTOMATIC"

    def _name_values(self) -> tuple[ClassInfo, ...]:
        known = {info.value: info for info in self.classes if info.value != 0}
        present = [int(value) for value in np.unique(self.labels) if value]
        if self.instances:
            kind = next(iter(known.values()), None)
            return tuple(_object(value, kind) for value in present)
        return tuple(
            known.get(value)
            or ClassInfo.model_construct(
                value=value, name=f"value {value}", color=default_color(value)
            )
            for value in sorted({*known, *present})
        )


def class_infos(names: Iterable[LabelName | ClassInfo]) -> tuple[ClassInfo, ...]:
    """Turn names that a mask's file states into classes."""
    found = []
    for name in names:
        if isinstance(name, ClassInfo):
            found.append(name)
            continue
        parts = name.code.split("^")
        coded = len(parts) == 3 and all(parts)
        found.append(
            ClassInfo.model_construct(
                value=name.value,
                name=name.name or f"value {name.value}",
                color=name.color,
                category=None,
                type=CodedConcept(scheme=parts[0], value=parts[1], meaning=parts[2])
                if coded
                else None,
            )
        )
    return tuple(found)


def volume_grid(
    labels: NDArray[Any], geometry: Geometry
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Lay labels out as volume formats do: fastest axis first, with their affine.

    Parameters
    ----------
    labels : ndarray
        In display order of `geometry`.
    geometry : Geometry
        Of the image.

    Returns
    -------
    array : (I, J, K) ndarray
        A plane's single axis is where the image's file has it, else last.
    affine : (4, 4) float64 ndarray
        Index to LPS, in mm, or in pixels where no length is known. Columns of an image
        without anatomy go to the left, its rows to the back and its slices up, as in
        NIfTI files.
    """
    array = geometry.to_source(labels)
    if geometry.kind == "patient":
        affine = with_normal(geometry.lps_affine)
    else:
        array = array.transpose()
        scale = geometry.mm_per_unit or 1.0
        sizes = [size * scale for size in reversed(geometry.spacing)]
        affine = np.diag([*sizes, *(1.0,) * (4 - len(sizes))])
    return as_volume(array, affine, geometry)


def with_spacing(geometry: Geometry, spacing: Sequence[float]) -> Geometry:
    """Give an image that states no size the one that a person states.

    Parameters
    ----------
    geometry : Geometry
        Of kind "none".
    spacing : sequence of float
        mm per display axis, (row, column) or (slice, row, column).

    Raises
    ------
    GeometryError
        If the image states a size, or these are not as many positive numbers as axes.
    """
    if geometry.kind != "none":
        raise GeometryError("The image states its voxel size; it is not replaced.")
    sizes = [float(size) for size in spacing]
    if len(sizes) != geometry.ndim or not all(0 < size < np.inf for size in sizes):
        raise GeometryError(
            f"The spacing must be {geometry.ndim} positive numbers, in mm, not "
            f"{', '.join(f'{size:g}' for size in sizes)}."
        )
    by_axis = [1.0] * 3
    for size, (axis, _) in zip(sizes, geometry.ornt, strict=True):
        by_axis[axis] = size
    return replace(
        geometry,
        affine=np.diag([*by_axis, 1.0]),
        kind="pixel-size-only",
        unit="mm",
        assumed=True,
    )


def _object(value: int, kind: ClassInfo | None) -> ClassInfo:
    """Describe one numbered object; its value may be beyond those of classes."""
    return ClassInfo.model_construct(
        value=value,
        name=f"{kind.name if kind else 'object'} {value}",
        color=default_color(value),
        category=kind.category if kind else None,
        type=kind.type if kind else None,
    )
