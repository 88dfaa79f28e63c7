"""Which formats there are, which of them fit a mask, and which files each writes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_medurwkv.errors import OutputError
from napari_medurwkv.export.dicom_source import NO_PLACES, unplaced_frames
from napari_medurwkv.export.sidecar import itk_snap_output, record_output
from napari_medurwkv.io import labels_output, refuse_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medurwkv.export.mask import ExportMask, ExportOptions
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io import Output

__all__ = [
    "FORMATS",
    "Format",
    "find_format",
    "format_of_name",
    "plan_outputs",
    "planned_paths",
    "target_of",
]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a mask.

    Parameters
    ----------
    key : str
        Its name on the command line.
    title : str
        Its name for people.
    ending : str
        Of its (first) file.
    purpose : str
        Who reads it.
    loses : str
        What it has no room for.
    dimensions : tuple of int
        2, 3 or both.
    needs_length : bool
        Whether it is of little use where the voxel size is not known.
    extra : str
        The package's extra that installs what it needs; "" if nothing more.
    modules : tuple of str
        What that extra brings.
    """

    key: str
    title: str
    ending: str
    purpose: str
    loses: str
    dimensions: tuple[int, ...] = (2, 3)
    needs_length: bool = False
    extra: str = ""
    modules: tuple[str, ...] = ()

    def unfit(self, geometry: Geometry) -> str:
        """Say why masks of this geometry cannot be written so; "" where they can."""
        if geometry.ndim not in self.dimensions:
            return (
                f"{self.title} holds {'planes' if 2 in self.dimensions else 'volumes'}"
            )
        if self.key == "dicom-seg" and geometry.source.dicom is None:
            return "DICOM SEG refers to DICOM images, and this image is none"
        if self.key == "dicom-seg" and unplaced_frames(geometry):
            return NO_PLACES.format(
                "NIfTI, 3D Slicer segmentation, TIFF or OME-Zarr"
                if geometry.ndim == 3
                else "NIfTI, PNG or TIFF"
            )
        missing = [name for name in self.modules if find_spec(name) is None]
        if missing:
            return f"needs pip install 'napari-medurwkv[{self.extra}]'"
        return ""


_MESH = {
    "dimensions": (3,),
    "needs_length": True,
    "extra": "mesh",
    "modules": ("trimesh",),
}
_SHAPE_ONLY = "everything but the outline: voxels, and what lies inside"
FORMATS: tuple[Format, ...] = (
    Format(
        "nifti",
        "NIfTI",
        ".nii.gz",
        "FSL, ITK-SNAP, nnU-Net, Python",
        "names, colours and codes, which go into the files beside it",
        needs_length=True,
    ),
    Format(
        "seg-nrrd",
        "3D Slicer segmentation",
        ".seg.nrrd",
        "3D Slicer",
        "NIfTI's two forms of a header: one affine is kept",
        needs_length=True,
    ),
    Format(
        "dicom-seg",
        "DICOM SEG",
        ".dcm",
        "PACS, OHIF, 3D Slicer",
        "gaps in the values: segments are numbered from 1",
        extra="dicom",
        modules=("highdicom", "pydicom"),
    ),
    Format(
        "png",
        "PNG, grey values",
        ".png",
        "every program for pictures",
        "names, colours, pixel size, anatomy",
        dimensions=(2,),
    ),
    Format(
        "png-indexed",
        "PNG, class colours",
        "_indexed.png",
        "eyes; programs that read palettes",
        "names, pixel size, anatomy; 256 values at most",
        dimensions=(2,),
    ),
    Format(
        "tiff",
        "TIFF",
        ".tif",
        "ImageJ, microscopy",
        "names, colours, anatomy",
    ),
    Format(
        "ome-tiff",
        "OME-TIFF",
        ".ome.tif",
        "OMERO, QuPath, Bio-Formats",
        "names, colours, anatomy",
    ),
    Format(
        "ome-zarr",
        "OME-Zarr labels",
        ".ome.zarr",
        "napari, large data in the cloud",
        "anatomy and place",
        extra="zarr",
        modules=("zarr",),
    ),
    Format(
        "coco",
        "COCO JSON",
        "_coco.json",
        "annotation programs, object detectors",
        "pixel size, colours, anatomy",
        dimensions=(2,),
    ),
    Format("stl", "STL surfaces", ".stl", "3D printing", _SHAPE_ONLY, **_MESH),  # type: ignore[arg-type]
    Format(
        "ply",
        "PLY surfaces",
        ".ply",
        "MeshLab, CloudCompare",
        _SHAPE_ONLY,
        **_MESH,  # type: ignore[arg-type]
    ),
    Format("obj", "OBJ surfaces", ".obj", "3D programs", _SHAPE_ONLY, **_MESH),  # type: ignore[arg-type]
    Format("glb", "GLB scene", ".glb", "browsers, XR", _SHAPE_ONLY, **_MESH),  # type: ignore[arg-type]
    Format(
        "csv",
        "Measurements, CSV",
        "_measurements.csv",
        "spreadsheets, R",
        "the mask",
        needs_length=True,
    ),
    Format(
        "json",
        "Measurements, JSON",
        "_measurements.json",
        "programs",
        "the mask",
        needs_length=True,
    ),
)

_SINGLE_ENDINGS = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".seg.nrrd": "seg-nrrd",
    ".dcm": "dicom-seg",
    ".ome.tif": "ome-tiff",
    ".ome.tiff": "ome-tiff",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".ome.zarr": "ome-zarr",
    ".zarr": "ome-zarr",
    ".png": "png",
    ".json": "coco",
    ".stl": "stl",
    ".ply": "ply",
    ".obj": "obj",
    ".glb": "glb",
    ".csv": "csv",
}


def find_format(key: str) -> Format:
    """Return a format by its name.

    Raises
    ------
    OutputError
        If there is none; lists those that are.
    """
    for entry in FORMATS:
        if entry.key == key:
            return entry
    known = ", ".join(entry.key for entry in FORMATS)
    raise OutputError(f"There is no format {key}: choose of {known}.")


def format_of_name(name: str) -> tuple[Format, str]:
    """Return the format that a file's name asks for, and its ending.

    Raises
    ------
    OutputError
        If the ending is unknown.
    """
    for ending, key in _SINGLE_ENDINGS.items():
        if name.lower().endswith(ending):
            return find_format(key), name[len(name) - len(ending) :]
    raise OutputError(
        f"A mask cannot be written as {name}: give it one of the endings "
        f"{', '.join(_SINGLE_ENDINGS)}."
    )


def target_of(entry: Format, stem: Path, ending: str = "") -> Path:
    """Name the first file of a format."""
    return stem.with_name(stem.name + (ending or entry.ending))


def planned_paths(
    geometry: Geometry,
    formats: Sequence[Format],
    stem: Path,
    endings: dict[str, str] | None = None,
) -> list[Path]:
    """Name what would be written, without looking at the mask.

    Parameters
    ----------
    geometry : Geometry
        Of the mask.
    formats : sequence of Format
        What is chosen.
    stem : Path
        Target without an ending.
    endings : dict, optional
        Endings by format key, in place of the usual ones.

    Returns
    -------
    list of Path
        In STL and PLY a name stands for one file a class.
    """
    paths = []
    for entry in formats:
        if entry.key in ("stl", "ply"):
            paths.append(stem.with_name(f"{stem.name}_VALUE_NAME{entry.ending}"))
            continue
        paths.append(target_of(entry, stem, (endings or {}).get(entry.key, "")))
        if entry.key == "nifti":
            paths.append(stem.with_name(f"{stem.name}_labels.txt"))
        if entry.key == "csv" and geometry.ndim == 3:
            paths.append(stem.with_name(f"{stem.name}_slices.csv"))
    return [*paths, stem.with_name(f"{stem.name}.json")] if paths else []


def plan_outputs(
    mask: ExportMask,
    formats: Sequence[Format],
    stem: Path,
    options: ExportOptions,
    *,
    endings: dict[str, str] | None = None,
    names_beside: bool = True,
) -> list[Output]:
    """Prepare what the formats write, and the record beside it.

    Parameters
    ----------
    mask : ExportMask
        What to write.
    formats : sequence of Format
        Those to write.
    stem : Path
        Target without an ending.
    options : ExportOptions
        See there.
    endings : dict, optional
        Endings by format key, in place of the usual ones.
    names_beside : bool
        Whether ITK-SNAP's file of names goes beside a NIfTI file; the record has the
        names as well.

    Raises
    ------
    OutputError
        If a format does not fit, or an output would be the image itself.
    """
    outputs: list[Output] = []
    for entry in formats:
        reason = entry.unfit(mask.geometry)
        if reason:
            raise OutputError(f"The mask cannot be written as {entry.key}: {reason}.")
        target = target_of(entry, stem, (endings or {}).get(entry.key, ""))
        outputs += _outputs_of(mask, entry, target, stem, options)
        if entry.key == "nifti" and names_beside:
            names = stem.with_name(f"{stem.name}_labels.txt")
            outputs.append(itk_snap_output(mask, names))
    outputs.append(record_output(mask, stem.with_name(f"{stem.name}.json")))
    for output in outputs:
        refuse_source(output.path, mask.geometry)
    paths = [output.path for output in outputs]
    if len(set(paths)) != len(paths):
        raise OutputError(
            "Two of the files would have one name: export the formats one by one."
        )
    return outputs


def _outputs_of(
    mask: ExportMask, entry: Format, target: Path, stem: Path, options: ExportOptions
) -> list[Output]:
    key = entry.key
    if key in ("nifti", "png", "png-indexed", "tiff", "ome-tiff"):
        return [
            labels_output(
                target,
                mask.labels,
                mask.geometry,
                classes=mask.segments if key == "png-indexed" else mask.stored_classes,
                palette=key == "png-indexed",
            )
        ]
    if key == "seg-nrrd":
        from napari_medurwkv.export.seg_nrrd import seg_nrrd_output

        return [seg_nrrd_output(mask, target)]
    if key == "dicom-seg":
        from napari_medurwkv.export.dicom_seg import dicom_seg_output

        return [dicom_seg_output(mask, target, options)]
    if key == "ome-zarr":
        from napari_medurwkv.export.zarr_labels import zarr_output

        return [zarr_output(mask, target)]
    if key == "coco":
        from napari_medurwkv.export.coco import coco_output

        return [coco_output(mask, target)]
    if key in ("csv", "json"):
        from napari_medurwkv.export.tables import csv_outputs, json_output

        if key == "json":
            return [json_output(mask, target)]
        deep = mask.geometry.ndim == 3
        slices = stem.with_name(f"{stem.name}_slices.csv") if deep else None
        return csv_outputs(mask, target, slices)
    from napari_medurwkv.export.surface import mesh_outputs

    return mesh_outputs(mask, stem, entry.ending, options)
