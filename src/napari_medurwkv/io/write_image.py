"""Write an image that a network made, on the grid of the image that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.io.nifti import check_nifti, nifti_labels, write_nifti
from napari_medurwkv.io.safe_write import write_safely
from napari_medurwkv.io.write import refuse_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry

__all__ = ["IMAGE_SUFFIXES", "write_image"]

IMAGE_SUFFIXES = (".nii", ".nii.gz")


def write_image(
    path: str | Path,
    values: NDArray[np.float32],
    geometry: Geometry,
    *,
    overwrite: bool = False,
) -> Path:
    """Write values as NIfTI with the geometry of their source, read back and compared.

    Parameters
    ----------
    path : str or Path
        Ends in .nii or .nii.gz.
    values : ndarray of float32
        In display order, one per pixel or voxel.
    geometry : Geometry
        Of the image that they came from.
    overwrite : bool
        Replace a file that is there, but never the source.

    Raises
    ------
    GeometryError
        The values are not of the geometry's shape.
    OutputError
        The ending is another, or the file cannot be written.
    """
    target = Path(path)
    if not target.name.lower().endswith(IMAGE_SUFFIXES):
        raise OutputError(
            f"An image cannot be written as {target.name}: end its name in .nii.gz or "
            ".nii."
        )
    if values.shape != geometry.display_shape:
        raise GeometryError(
            f"The image has shape {values.shape}, but its source is displayed as "
            f"{geometry.display_shape}: they do not belong together."
        )
    refuse_source(target, geometry)
    header: Any
    header, array = nifti_labels(np.asarray(values, np.float32), geometry)
    header.set_intent("none", name="")

    def check(part: Path) -> None:
        if not check_nifti(part, header, array):
            raise OutputError(f"{target} did not come back from the disk as written.")

    return write_safely(
        target,
        lambda part: write_nifti(part, header, array),
        check,
        overwrite=overwrite,
    )
