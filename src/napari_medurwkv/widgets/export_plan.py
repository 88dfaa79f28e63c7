"""From what is typed and ticked to what will be written where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.export import (
    ExportOptions,
    format_of_name,
    planned_paths,
    with_spacing,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medurwkv.export import Format
    from napari_medurwkv.geometry import Geometry

__all__ = ["ExportPlan", "edits_text", "listed", "make_plan", "sized"]

# They keep every voxel, so work that is in them need not be kept elsewhere.
KEEPS_VOXELS = {
    *("nifti", "seg-nrrd", "dicom-seg", "png", "png-indexed"),
    *("tiff", "ome-tiff", "ome-zarr"),
}


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What will be written where.

    Attributes
    ----------
    stem : Path
        Folder and name without an ending.
    formats : tuple of Format
        Those to write.
    paths : tuple of Path
        All files and folders; of STL and PLY one name with VALUE_NAME in it.
    endings : dict
        Endings that were typed, by format key.
    options : ExportOptions
        See there.
    """

    stem: Path
    formats: tuple[Format, ...]
    paths: tuple[Path, ...]
    endings: dict[str, str] = field(default_factory=dict)
    options: ExportOptions = field(default_factory=ExportOptions)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the formats."""
        return tuple(entry.key for entry in self.formats)

    @property
    def keeps_voxels(self) -> bool:
        """Whether the mask can be read back from what is written."""
        return bool(KEEPS_VOXELS.intersection(self.keys))

    def existing(self) -> list[Path]:
        """Return the files and folders that would be replaced."""
        found: list[Path] = []
        for path in self.paths:
            if "VALUE_NAME" in path.name:
                pattern = path.name.replace("VALUE_NAME", "*_*")
                found += sorted(path.parent.glob(pattern))
            elif path.exists():
                found.append(path)
        return found


def make_plan(
    typed: str,
    ticked: Sequence[Format],
    geometry: Geometry,
    options: ExportOptions,
    *,
    touched: bool,
) -> ExportPlan:
    """Find out what will be written.

    Parameters
    ----------
    typed : str
        Folder and name; an ending that belongs to a format asks for that format too, or
        for that alone while nobody has ticked anything.
    ticked : sequence of Format
        What is ticked.
    geometry : Geometry
        Of the mask.
    options : ExportOptions
        What else was chosen.
    touched : bool
        Whether a person has ticked something.

    Raises
    ------
    OutputError
        If there is no name, or nothing to write.
    """
    target = Path(typed.strip()).expanduser()
    if not typed.strip() or not target.name:
        raise OutputError("Give the mask a name.")
    formats = list(ticked)
    endings: dict[str, str] = {}
    try:
        entry, ending = format_of_name(target.name)
    except OutputError:
        entry = None  # a name without an ending, which is the usual case
    if entry is not None and entry.key in ("json", "csv", "coco"):
        entry = None  # their endings are no more than part of their names
    if entry is not None:
        target = target.with_name(target.name[: len(target.name) - len(ending)])
        if not target.name:
            raise OutputError("Give the mask a name.")
        endings[entry.key] = ending
        if not touched:
            formats = [entry]
        elif entry not in formats:
            formats.append(entry)
    if not formats:
        raise OutputError("Tick a format to write the mask in.")
    paths = planned_paths(geometry, formats, target, endings)
    return ExportPlan(target, tuple(formats), tuple(paths), endings, options)


def sized(geometry: Geometry, text: str) -> Geometry:
    """Take the voxel size that a person typed; nothing typed leaves it unknown.

    Parameters
    ----------
    geometry : Geometry
        Of the mask.
    text : str
        Numbers in mm, with commas or spaces between.

    Raises
    ------
    GeometryError
        If these are no such numbers.
    """
    if geometry.kind != "none" or not text.strip():
        return geometry
    words = text.replace("mm", " ").replace(",", " ").replace("×", " ").split()
    try:
        sizes = [float(word) for word in words]
    except ValueError as error:
        raise GeometryError(
            "The voxel size must be numbers in mm, such as 2, 0.5, 0.5."
        ) from error
    return with_spacing(geometry, sizes)


def listed(plan: ExportPlan) -> str:
    """List what would be written; a mark says what would be replaced."""
    existing = set(plan.existing())
    names = []
    for path in plan.paths:
        name = path.name.replace("VALUE_NAME", "<value>_<class>")
        names.append(f"{name} (replaces)" if path in existing else name)
    return f"In {_at_home(plan.stem.parent)}:\n" + "\n".join(names)


def _at_home(folder: Path) -> str:
    """Write a folder as people do who are at home in it."""
    try:
        inside = folder.relative_to(Path.home())
    except ValueError:
        return str(folder)
    return "~" if inside == Path() else f"~/{inside.as_posix()}"


def edits_text(changed: int | None) -> str:
    """Say how many voxels a person changed."""
    if changed is None:
        return "edits not known"
    if changed == 0:
        return "as the model gave it"
    return f"{changed} voxel{'s' if changed > 1 else ''} changed by hand"
