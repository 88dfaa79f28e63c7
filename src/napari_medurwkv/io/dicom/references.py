"""The data sets that a DICOM mask refers to: those of the image that was segmented."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.dicom.library import library, quiet

if TYPE_CHECKING:
    from napari_medurwkv.geometry import Geometry

__all__ = ["source_datasets"]


def source_datasets(geometry: Geometry) -> tuple[list[Any], tuple[str, ...]]:
    """Read the headers of the image that a geometry belongs to.

    Parameters
    ----------
    geometry : Geometry
        Of an image that was read from DICOM.

    Returns
    -------
    datasets : list of pydicom.Dataset
        Without pixels, in slice order; one for a multi-frame file. Identifiers that an
        anonymiser emptied are filled in: those of instances from the files' meta
        headers, those of series and study with new ones that depend on the instances
        alone.
    notes : tuple of str
        What was filled in, one sentence each.

    Raises
    ------
    ImageError
        If the geometry is of no DICOM image, files are gone, or their identifiers are
        beyond repair.
    """
    dicom = geometry.source.dicom
    if dicom is None:
        raise ImageError(
            "The image was not read from DICOM, so no DICOM mask can refer to it: "
            "save the mask as NIfTI or NRRD."
        )
    pydicom = library("pydicom")
    datasets = []
    with quiet():
        for name in dicom.files:
            if not Path(name).is_file():
                raise ImageError(
                    f"{name} is not there any more: a DICOM mask has to refer to the "
                    "files of its image, so put them back."
                )
            try:
                datasets.append(
                    pydicom.dcmread(name, stop_before_pixels=True, force=True)
                )
            except Exception as error:  # damaged elements raise anything
                raise ImageError(
                    f"{name} has a damaged DICOM header: copy it again."
                ) from error
        return datasets, _repair(datasets, pydicom.uid.generate_uid)


def _repair(datasets: list[Any], new_uid: Any) -> tuple[str, ...]:
    """Fill in what is missing; say what."""
    notes = []
    for element, origin in (
        ("SOPClassUID", "MediaStorageSOPClassUID"),
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
    ):
        stated = Counter(str(one.get(element) or "") for one in datasets)
        repeated = element == "SOPInstanceUID" and max(stated.values()) > 1
        if "" not in stated and not repeated:
            continue
        for one in datasets:
            setattr(one, element, str(one.file_meta.get(origin) or ""))
        found = Counter(str(one.get(element)) for one in datasets)
        if "" in found or (element == "SOPInstanceUID" and max(found.values()) > 1):
            raise ImageError(
                f"The files of the image have no usable {element}, so a DICOM mask "
                "cannot refer to them: save the mask as NIfTI or NRRD."
            )
        notes.append(
            f"The files' {element} is empty or repeated; it was taken from their meta "
            "headers."
        )
    instances = sorted(str(one.SOPInstanceUID) for one in datasets)
    for element in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if all(one.get(element) for one in datasets):
            continue
        made = new_uid(entropy_srcs=[element, *instances])
        for one in datasets:
            setattr(one, element, made)
        notes.append(f"The files have no {element}; a new one was made.")
    return tuple(notes)
