"""Write the mask of a labels layer in its image's geometry, with its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.checkpoints import ClassInfo
from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.io import label_suffixes, write_labels
from napari_medurwkv.io.foreign import METADATA_KEY
from napari_medurwkv.provenance import RunRecord, record_path, write_record
from napari_medurwkv.widgets.layer_image import find_geometry, in_layer_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.widgets.layer_image import LayerSnapshot

__all__ = [
    "Mask",
    "Written",
    "check_target",
    "find_mask",
    "suggest_target",
    "write_mask",
]

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
    """

    snapshot: LayerSnapshot
    geometry: Geometry
    origin: str

    @property
    def block(self) -> Mapping[str, Any]:
        """What a run wrote into the layer's metadata; empty for other layers."""
        block = self.snapshot.state["metadata"].get(METADATA_KEY)
        return block if isinstance(block, dict) and "model" in block else {}


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes
    ----------
    path : Path
        The mask.
    record : Path or None
        Its record; None where the mask is not from a model.
    changed : int or None
        Voxels that differ from what the model gave; None where that is not known.
    """

    path: Path
    record: Path | None
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
        if METADATA_KEY in snapshot.state["metadata"]:
            return Mask(snapshot, geometry, "of the image it was made from")
        return Mask(snapshot, geometry, own.origin)
    for image in images:
        if _drawn_alike(snapshot, image):
            found = find_geometry(image)
            geometry = in_layer_order(found.export_geometry, found)
            return Mask(snapshot, geometry, f"of the image {image.name} below it")
    return Mask(snapshot, in_layer_order(own.geometry, own), own.origin)


def check_target(path: str | Path) -> None:
    """Refuse a name that no mask can be written to.

    Raises
    ------
    OutputError
        If the ending is unknown.
    """
    name = Path(path).name
    if not name.lower().endswith(label_suffixes()):
        known = ", ".join(label_suffixes())
        raise OutputError(f"Give the mask a name that ends in one of {known}.")


def suggest_target(mask: Mask, fallback: Path) -> Path:
    """Suggest a file beside the image, named after it.

    Parameters
    ----------
    mask : Mask
        What is to be written.
    fallback : Path
        Folder for masks of images that come from no file, or from this package.
    """
    from napari_medurwkv.samples import list_samples

    source = mask.geometry.source.path
    if source is None:
        name = "".join(
            c if c.isalnum() or c in "-_" else "_" for c in mask.snapshot.name
        )
        ending = ".nii.gz" if mask.geometry.ndim == 3 else ".png"
        return fallback / f"{name.strip('_') or 'mask'}{ending}"
    path = Path(source)
    lower = path.name.lower()
    suffix = next((s for s in (".nii.gz", ".nii") if lower.endswith(s)), path.suffix)
    stem = path.name[: len(path.name) - len(suffix)]
    if mask.geometry.source.frame is not None:
        stem += f"_frame{mask.geometry.source.frame + 1}"
    endings = {".nii.gz": ".nii.gz", ".nii": ".nii", ".tif": ".tif", ".tiff": ".tif"}
    ending = endings.get(
        suffix.lower(), ".nii.gz" if mask.geometry.ndim == 3 else ".png"
    )
    bundled = path.parent in {sample.path.parent for sample in list_samples()}
    folder = fallback if bundled or not path.parent.is_dir() else path.parent
    return folder / f"{stem}_mask{ending}"


def write_mask(mask: Mask, path: str | Path, *, overwrite: bool) -> Written:
    """Write the mask and, if a model made it, its record beside it.

    Parameters
    ----------
    mask : Mask
        What to write; the layer may be painted on meanwhile.
    path : str or Path
        Target.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    OutputError
        If something cannot be written; what existed is untouched.
    GeometryError
        If the layer no longer has the shape of its image.
    """
    check_target(path)
    labels = np.array(_without_frame_axis(mask))
    block = mask.block
    classes = [ClassInfo(**info) for info in block.get("classes", ())]
    target = write_labels(
        path,
        labels,
        mask.geometry,
        classes=() if block.get("instances") else classes,
        overwrite=overwrite,
    )
    record = block.get("record")
    if record is None:
        return Written(target, None, None)
    original = block.get("original")
    # The packed mask has the layer's own shape, frame axis included.
    changed = (
        None
        if original is None
        else original.count_changes(labels.reshape(original.shape))
    )
    edits = {
        "edited_by_hand": None if changed is None else changed > 0,
        "changed_voxels": changed,
    }
    run = RunRecord.model_validate(record)
    run = run.model_copy(update={"parameters": run.parameters | edits})
    beside = write_record(record_path(target), run, overwrite=overwrite)
    return Written(target, beside, changed)


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
