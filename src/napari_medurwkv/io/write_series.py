"""Masks of all frames of a series in one file with an axis of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.io.nifti import nifti_labels, write_nifti
from napari_medurwkv.io.raster import raster_order
from napari_medurwkv.io.read import frame_count, read_labels
from napari_medurwkv.io.safe_write import Output
from napari_medurwkv.io.write import refuse_source, smallest_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io.write import LabelClass

__all__ = ["SERIES_ENDINGS", "series_output"]

SERIES_ENDINGS = (".nii.gz", ".nii", ".tif", ".tiff")


def series_output(
    target: Path,
    frames: Sequence[NDArray[Any]],
    geometry: Geometry,
    *,
    classes: Sequence[LabelClass] = (),
) -> Output:
    """Describe the file of several masks on one grid for `write_all_safely`.

    Parameters
    ----------
    target : Path
        Ends in one of `SERIES_ENDINGS`.
    frames : sequence of ndarray of integers
        Of each time, in display order of `geometry`.
    geometry : Geometry
        Of every frame.
    classes : sequence of LabelClass
        The classes of the masks.

    Raises
    ------
    GeometryError
        If a frame is not of the geometry's shape.
    OutputError
        If the ending is another, or the file is the image itself.
    """
    name = target.name.lower()
    if not name.endswith(SERIES_ENDINGS):
        raise OutputError(
            f"Masks of all frames cannot be written as {target.name}; give it one of "
            f"the endings {', '.join(SERIES_ENDINGS)}."
        )
    if any(frame.shape != geometry.display_shape for frame in frames):
        raise GeometryError("The frames have different shapes; segment one at a time.")
    refuse_source(target, geometry)
    labels = smallest_labels(np.stack(frames), classes)

    def write(part: Path) -> None:
        if name.endswith((".tif", ".tiff")):
            _write_tiff(part, labels, geometry)
        else:
            _write_nifti(part, labels, geometry)

    def check(part: Path) -> None:
        sound = frame_count(part) == len(labels) and all(
            np.array_equal(read_labels(part, frame=number).array, frame)
            for number, frame in enumerate(labels)
        )
        if len(labels) == 1:
            sound = np.array_equal(read_labels(part).array, labels[0])
        if not sound:
            raise OutputError(
                f"{target} did not come back from the disk as written: check the disk, "
                "or choose another folder."
            )

    return Output(target, write, check)


def _write_nifti(part: Path, labels: NDArray[Any], geometry: Geometry) -> None:
    header, first = nifti_labels(labels[0], geometry)
    arrays = [first, *(nifti_labels(frame, geometry)[1] for frame in labels[1:])]
    space = (*first.shape, 1, 1)[:3]
    series = np.stack([array.reshape(space) for array in arrays], axis=3)
    header.set_data_shape(series.shape)
    header["pixdim"][4] = 1
    write_nifti(part, header, series)


def _write_tiff(part: Path, labels: NDArray[Any], geometry: Geometry) -> None:
    import tifffile

    turned = [raster_order(frame, geometry) for frame in labels]
    pixels = np.ascontiguousarray(np.stack([one for one, _ in turned]))
    axes = "T" + "ZYX"[-(pixels.ndim - 1) :]
    metadata: dict[str, Any] = {"axes": axes, "Creator": "napari-medurwkv"}
    if geometry.mm_per_unit:
        unit = "µm" if geometry.unit == "um" else geometry.unit
        for axis, size in zip(axes[1:], turned[0][1], strict=True):
            metadata[f"PhysicalSize{axis}"] = size
            metadata[f"PhysicalSize{axis}Unit"] = unit
    tifffile.imwrite(
        part,
        pixels,
        ome=True,
        photometric="minisblack",
        compression="zlib",
        metadata=metadata,
    )
