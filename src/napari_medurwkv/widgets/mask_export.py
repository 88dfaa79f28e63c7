"""Write the mask of a labels layer in its image's geometry, with its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.export import (
    ExportMask,
    export_mask,
    format_of_name,
    planned_paths,
    without_ending,
)
from napari_medurwkv.io.foreign import FROM_FILE, METADATA_KEY
from napari_medurwkv.provenance import RunRecord
from napari_medurwkv.widgets.layer_image import find_geometry, in_layer_order
from napari_medurwkv.widgets.mask_classes import classes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.widgets.layer_image import LayerSnapshot

__all__ = [
    "CORRECTION_KEY",
    "Mask",
    "Written",
    "export_of",
    "find_mask",
    "suggest_stem",
    "usual_format",
    "write_mask",
]

CORRECTION_KEY = "medurwkv-correction"
"""Where a labels layer keeps what was done to it by hand."""

_DRAWN_BY = ("affine", "scale", "translate", "rotate", "shear")


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A labels layer and the grid that it will be written on.

    Attributes
    ----------
    snapshot : LayerSnapshot
        Of the labels layer.
    geometry : Geometry
        Its display order is the layer's array order, a leading frame axis apart.
    origin : str
        Where the geometry comes from, for people.
    image : LayerSnapshot or None
        The image layer that it lies on, for measurements.
    """

    snapshot: LayerSnapshot
    geometry: Geometry
    origin: str
    image: LayerSnapshot | None = None

    @property
    def of_image(self) -> bool:
        """Whether the grid is that of an image, not the layer's own."""
        return self.origin.startswith("of ") or self.origin == FROM_FILE

    @property
    def block(self) -> Mapping[str, Any]:
        """What this plugin keeps in the layer's metadata; empty for other layers."""
        block = self.snapshot.state["metadata"].get(METADATA_KEY)
        return block if isinstance(block, dict) else {}


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes
    ----------
    path : Path
        The mask.
    record : Path
        Its record.
    changed : int or None
        Voxels that differ from what the model gave; None where that is not known.
    """

    path: Path
    record: Path
    changed: int | None


def find_mask(snapshot: LayerSnapshot, images: Sequence[LayerSnapshot]) -> Mask:
    """Find the grid of a labels layer; may read files, so it belongs into a thread.

    Parameters
    ----------
    snapshot : LayerSnapshot
        Of the labels layer.
    images : sequence of LayerSnapshot
        The image layers of the viewer: labels drawn exactly over one, as napari's own
        new labels are, have its geometry.

    Raises
    ------
    GeometryError
        If the layer carries a geometry but no longer has its shape.
    """
    own = find_geometry(snapshot)
    if own.file_geometry is not None:
        geometry = in_layer_order(own.file_geometry, own)
        ours = METADATA_KEY in snapshot.state["metadata"]
        origin = "of the image it was made from" if ours else FROM_FILE
        return Mask(snapshot, geometry, origin, _image_of(snapshot, images))
    for image in images:
        if _drawn_alike(snapshot, image):
            found = find_geometry(image)
            geometry = in_layer_order(found.export_geometry, found)
            origin = f"of the image {image.name} below it"
            return Mask(snapshot, geometry, origin, image)
    return Mask(snapshot, in_layer_order(own.geometry, own), own.origin)


def suggest_stem(mask: Mask, fallback: Path) -> Path:
    """Suggest a name beside the image, after it, without an ending.

    Parameters
    ----------
    mask : Mask
        What is to be written.
    fallback : Path
        Folder for masks of images that come from no file, or from this package.
    """
    from napari_medurwkv.samples import list_samples

    source = mask.geometry.source
    if source.path is None:
        name = "".join(
            c if c.isalnum() or c in "-_" else "_" for c in mask.snapshot.name
        )
        return fallback / (name.strip("_") or "mask")
    path = Path(source.path)
    # Folders and files of DICOM are often named after the patient.
    dicom = source.format == "dicom"
    modality = source.dicom.modality.lower() if source.dicom else ""
    stem = (modality or "dicom") if dicom else without_ending(path.name)
    if source.frame is not None:
        stem += f"_frame{source.frame + 1}"
    bundled = path.parent in {sample.path.parent for sample in list_samples()}
    folder = fallback if bundled or not path.parent.is_dir() else path.parent
    return folder / f"{stem}_mask"


def usual_format(mask: Mask) -> str:
    """Return the format that is chosen at first: the image's own, where masks go so."""
    if mask.geometry.source.format == "tiff":
        return "tiff"
    return "nifti" if mask.geometry.ndim == 3 else "png"


def export_of(mask: Mask) -> ExportMask:
    """Collect what formats have room for; reads voxels, so it belongs into a thread.

    Parameters
    ----------
    mask : Mask
        What to write; the layer may be painted on meanwhile.

    Raises
    ------
    GeometryError
        If the layer no longer has the shape of its image.
    """
    labels = np.array(_without_frame_axis(mask))
    block = mask.block
    record = block.get("record")
    original = block.get("original")
    changed = None
    if record is not None and original is not None:
        # The packed mask has the layer's own shape, frame axis included.
        changed = original.count_changes(labels.reshape(original.shape))
    run = None if record is None else RunRecord.model_validate(record)
    correction = mask.snapshot.state["metadata"].get(CORRECTION_KEY)
    return ExportMask(
        labels=labels,
        geometry=mask.geometry,
        classes=classes_of(mask.snapshot.state, block),
        instances=bool(block.get("instances")),
        image=_grey_values(mask),
        record=run,
        changed=changed,
        correction=correction,
    )


def write_mask(mask: Mask, path: str | Path, *, overwrite: bool) -> Written:
    """Write the mask in the format of a file's ending, with its record beside it.

    Parameters
    ----------
    mask : Mask
        What to write; the layer may be painted on meanwhile.
    path : str or Path
        Target.
    overwrite : bool
        Whether this file, and a record of this plugin beside it, may be replaced.

    Raises
    ------
    OutputError
        If something cannot be written; what existed is untouched.
    GeometryError
        If the layer no longer has the shape of its image.
    """
    target = Path(path)
    entry, ending = format_of_name(target.name)
    stem = target.with_name(target.name[: len(target.name) - len(ending)])
    export = export_of(mask)
    endings = {entry.key: ending}
    if overwrite:
        _refuse_unasked(target, planned_paths(mask.geometry, [entry], stem, endings))
    done = export_mask(
        export,
        [entry.key],
        stem,
        overwrite=overwrite,
        endings=endings,
        names_beside=False,
    )
    return Written(done.paths[0], done.paths[-1], export.changed)


def _refuse_unasked(target: Path, planned: Sequence[Path]) -> None:
    """Refuse to replace further files: only the target was asked about."""
    for path in planned:
        pattern = path.name.replace("VALUE_NAME", "*_*")
        # The record is replaced only if it is one; ITK-SNAP's names are not written.
        if path == target or path.suffix == ".json" or path.suffix == ".txt":
            continue
        found = next(iter(sorted(path.parent.glob(pattern))), None)
        if found is not None:
            raise OutputError(
                f"{found} exists and was not asked about: delete it, or export with "
                "the Export panel, which asks."
            )


def _grey_values(mask: Mask) -> NDArray[Any] | None:
    """Values of the image that the mask lies on, of one frame; None for colour."""
    image = mask.image
    if image is None or image.rgb:
        return None
    data = image.data
    if image.frames:
        frame = mask.geometry.source.frame
        if frame is None and image.frames > 1:
            return None
        data = data[frame or 0]
    values = np.asarray(data)
    if values.shape != mask.geometry.display_shape or values.dtype.kind not in "biuf":
        return None
    return np.nan_to_num(values) if values.dtype.kind == "f" else values


def _image_of(
    snapshot: LayerSnapshot, images: Sequence[LayerSnapshot]
) -> LayerSnapshot | None:
    """Find the image layer of a mask: the one it was made of, or one drawn alike."""
    block = snapshot.state["metadata"].get(METADATA_KEY)
    made_of = block.get("image", {}).get("id") if isinstance(block, dict) else None
    for image in images:
        if image.layer_id == made_of:
            return image
    return next((image for image in images if _drawn_alike(snapshot, image)), None)


def _without_frame_axis(mask: Mask) -> NDArray[Any]:
    data: NDArray[Any] = mask.snapshot.data
    if data.ndim == mask.geometry.ndim:
        return data
    if data.ndim == mask.geometry.ndim + 1 and data.shape[0] == 1:
        frame: NDArray[Any] = data[0]
        return frame
    raise GeometryError(
        f"The layer {mask.snapshot.name} has shape {data.shape}, but its image is "
        f"shown as {mask.geometry.display_shape}: save one frame at a time."
    )


def _drawn_alike(labels: LayerSnapshot, image: LayerSnapshot) -> bool:
    """Whether napari draws both layers voxel over voxel."""
    if labels.ndim != image.ndim or labels.shape != image.shape:
        return False
    return labels.frames == image.frames and all(
        np.allclose(labels.state[key], image.state[key]) for key in _DRAWN_BY
    )
