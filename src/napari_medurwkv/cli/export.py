"""``medurwkv export``: a mask file in other formats, on its image's grid."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_medurwkv.cli.grids import check_same_grid
from napari_medurwkv.cli.options import (
    AsJson,  # noqa: TC001 - typer reads the annotations
    Overwrite,  # noqa: TC001
)
from napari_medurwkv.cli.streams import only_results_on_stdout, say, show_json
from napari_medurwkv.errors import GeometryError, OutputError

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.export import ExportMask
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io import Image

__all__ = ["export"]


def export(
    mask: Annotated[Path, typer.Argument(help="Mask to export.", metavar="MASK")],
    image: Annotated[
        Path | None,
        typer.Option(
            help="Image that the mask belongs to: its grid, DICOM references and "
            "intensities are taken.",
            metavar="IMAGE",
        ),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            help="nifti, seg-nrrd, dicom-seg, png, png-indexed, tiff, ome-tiff, "
            "ome-zarr, coco, stl, ply, obj, glb, csv or json; may be repeated, or "
            "several with commas.",
            metavar="FORMAT",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File, whose ending then chooses the format; or folder and name "
            "without an ending; by default beside the mask, named after it.",
            metavar="PATH",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Take names, colours and codes of the classes from this model.",
            metavar="NAME|PATH",
        ),
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="The mask numbers objects.")
    ] = False,
    spacing: Annotated[
        str | None,
        typer.Option(
            help="Where the image states no voxel size: mm along slices, rows and "
            "columns, as 2,0.5,0.5; or none, to go without.",
        ),
    ] = None,
    space: Annotated[
        str, typer.Option(help="World of surfaces: LPS (3D Slicer, DICOM) or RAS.")
    ] = "LPS",
    deidentify: Annotated[
        bool,
        typer.Option(
            "--deidentify", help="DICOM SEG: leave patient, dates, institution out."
        ),
    ] = False,
    labelmap: Annotated[
        bool,
        typer.Option(
            "--labelmap", help="DICOM SEG: type LABELMAP, which few programs read yet."
        ),
    ] = False,
    frame: Annotated[
        int | None, typer.Option(help="Which frame of a 4D image, from 0.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Which series of a folder of several.")
    ] = None,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="Load a series with gaps or tilt; exports stay marked.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a mask in other formats, on its image's grid, with a record beside.

    Everything is written and checked before a file that exists is replaced.
    """
    from napari_medurwkv.export import ExportOptions, export_mask, find_format
    from napari_medurwkv.io import read_image, read_labels

    if space not in ("LPS", "RAS"):
        raise OutputError(f"The world of surfaces is LPS or RAS, not {space}.")
    stem, formats, endings = _targets(mask, format_ or [], output)
    entries = [find_format(key) for key in formats]
    with only_results_on_stdout():
        labels = read_labels(mask)
        picture = (
            read_image(image, frame=frame, series=series, approximate=approximate)
            if image is not None
            else None
        )
        if picture is not None:
            check_same_grid(labels.geometry, picture.geometry)
        geometry = (picture or labels).geometry
        for note in picture.notes if picture else ():
            say(f"Note: {note}")
        needs_length = any(entry.needs_length for entry in entries)
        geometry = _sized(geometry, spacing, needs_length=needs_length)
        options = ExportOptions(
            space="RAS" if space == "RAS" else "LPS",
            deidentify=deidentify,
            labelmap=labelmap,
        )
        done = export_mask(
            _to_export(mask, labels, picture, geometry, model, instances=instances),
            formats,
            stem,
            options=options,
            overwrite=overwrite,
            endings=endings,
        )
    if as_json:
        show_json(
            {"files": [str(path) for path in done.paths], "notes": list(done.notes)}
        )
        return
    for note in done.notes:
        say(f"Note: {note}")
    for path in done.paths:
        say(f"Wrote {path}.")


def _targets(
    mask: Path, wanted: list[str], output: Path | None
) -> tuple[Path, list[str], dict[str, str]]:
    """Find the files' common name, the formats, and an ending that was asked for."""
    from napari_medurwkv.export import format_of_name, without_ending

    keys = [key.strip() for text in wanted for key in text.split(",") if key.strip()]
    if output is None:
        if not keys:
            raise OutputError("Say how to write the mask: --format or --output.")
        return mask.with_name(without_ending(mask.name)), keys, {}
    if keys:
        if output.is_dir():
            return output / without_ending(mask.name), keys, {}
        return output.with_name(without_ending(output.name)), keys, {}
    entry, ending = format_of_name(output.name)
    stem = output.with_name(output.name[: len(output.name) - len(ending)])
    return stem, [entry.key], {entry.key: ending}


def _sized(geometry: Geometry, spacing: str | None, *, needs_length: bool) -> Geometry:
    """Take the size that a person states where the image states none."""
    from napari_medurwkv.export import with_spacing

    if spacing is None or spacing == "none":
        if spacing is None and needs_length and geometry.kind == "none":
            axes = "slices,rows,columns" if geometry.ndim == 3 else "rows,columns"
            raise GeometryError(
                "The image states no voxel size: give it in mm with "
                f"--spacing {axes}, or go without with --spacing none."
            )
        return geometry
    try:
        sizes = [float(size) for size in spacing.split(",")]
    except ValueError as error:
        raise GeometryError(
            f"--spacing takes numbers with commas between, as 2,0.5,0.5, not {spacing}."
        ) from error
    return with_spacing(geometry, sizes)


def _to_export(
    path: Path,
    labels: Image,
    picture: Image | None,
    geometry: Geometry,
    model: str | None,
    *,
    instances: bool,
) -> ExportMask:
    from napari_medurwkv.checkpoints import find
    from napari_medurwkv.export import ExportMask, class_infos
    from napari_medurwkv.export.sidecar import labels_digest
    from napari_medurwkv.io import smallest_labels
    from napari_medurwkv.provenance import read_record, record_path

    record = read_record(record_path(path))
    changed: Any = None
    if record is not None and record.labels_sha256:
        same = labels_digest(smallest_labels(labels.array)) == record.labels_sha256
        changed = record.parameters.get("changed_voxels") if same else None
    # Its record knows whether a mask numbers objects.
    instances = instances or bool(record and record.parameters.get("instances"))
    names = find(model).card.classes if model else class_infos(labels.classes)
    if instances and not model:
        names = tuple(_kind_of(info) for info in names[:1])
    grey = picture is not None and not picture.rgb
    return ExportMask(
        labels=labels.array,
        geometry=geometry,
        classes=tuple(names),
        instances=instances,
        image=picture.array if picture is not None and grey else None,
        record=record,
        changed=changed if isinstance(changed, int) else None,
    )


def _kind_of(info: ClassInfo) -> ClassInfo:
    """Return what an object is: "nucleus 7" is a nucleus."""
    kind = info.name.removesuffix(f" {info.value}")
    return info.model_copy(update={"name": kind or info.name})
