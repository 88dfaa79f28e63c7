"""Write a mask in one or several formats, all of them or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medurwkv.errors import OutputError
from napari_medurwkv.export.formats import find_format, plan_outputs
from napari_medurwkv.export.mask import ExportMask, ExportOptions
from napari_medurwkv.io import write_all_safely

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Exported", "export_mask", "without_ending"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    paths : tuple of Path
        All files and folders; the record is the last.
    notes : tuple of str
        What the user should know, one sentence each.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def export_mask(
    mask: ExportMask,
    formats: Sequence[str],
    stem: Path,
    *,
    options: ExportOptions | None = None,
    overwrite: bool = False,
    endings: dict[str, str] | None = None,
    names_beside: bool = True,
) -> Exported:
    """Write a mask in one or several formats, with its record beside it.

    Everything is written and checked before any old file is touched.

    Parameters
    ----------
    mask : ExportMask
        What to write.
    formats : sequence of str
        Keys of `FORMATS`.
    stem : Path
        Target without an ending: ``folder/name``.
    options : ExportOptions, optional
        See there.
    overwrite : bool
        Whether existing files may be replaced. The image never is.
    endings : dict, optional
        Endings by format key, in place of the usual ones.
    names_beside : bool
        Whether ITK-SNAP's file of names goes beside a NIfTI file.

    Returns
    -------
    Exported

    Raises
    ------
    OutputError
        If something cannot be written; all old files are then as they were.
    """
    if not formats:
        raise OutputError("Choose a format to write the mask in.")
    chosen = [find_format(key) for key in dict.fromkeys(formats)]
    if "\0" in str(stem):
        raise OutputError("A file's name cannot hold a null character: choose another.")
    try:
        outputs = plan_outputs(
            mask,
            chosen,
            stem,
            options or ExportOptions(),
            endings=endings,
            names_beside=names_beside,
        )
    except OSError as error:  # from looking at what is there already
        raise OutputError(
            f"{stem} cannot be written to: {error.strerror}; choose another name."
        ) from error
    paths = write_all_safely(outputs, overwrite=overwrite)
    return Exported(tuple(paths), _notes(mask))


def without_ending(name: str) -> str:
    """Return a file's name without an ending that a mask or an image may have."""
    lower = name.lower()
    endings = (
        *(".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd"),
        *(".ome.tif", ".ome.tiff", ".ome.zarr", ".zarr", ".tif", ".tiff"),
        *(".png", ".jpg", ".jpeg", ".mgz", ".mgh.gz", ".mgh", ".dcm", ".json"),
    )
    for ending in endings:
        if lower.endswith(ending) and len(name) > len(ending):
            return name[: len(name) - len(ending)]
    return name


def _notes(mask: ExportMask) -> tuple[str, ...]:
    geometry = mask.geometry
    notes = []
    if geometry.approximate:
        notes.append(f"The geometry is approximate: {geometry.approximate}.")
    if geometry.kind == "none":
        notes.append("The image states no voxel size: lengths are in pixels.")
    elif geometry.assumed:
        notes.append("Orientation or spacing are assumed: check them where it matters.")
    return tuple(notes)
