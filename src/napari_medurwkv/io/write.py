"""Write a mask next to its image: on its grid, checked, never over anything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medurwkv.errors import GeometryError, ImageError, OutputError
from napari_medurwkv.io.nifti import check_nifti, nifti_labels, write_nifti
from napari_medurwkv.io.raster import write_png
from napari_medurwkv.io.read import read_labels
from napari_medurwkv.io.safe_write import Output, write_all_safely
from napari_medurwkv.io.tiff import write_tiff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.io.image import Image

__all__ = [
    "LabelClass",
    "label_suffixes",
    "labels_output",
    "refuse_source",
    "smallest_labels",
    "write_labels",
]


class LabelClass(Protocol):
    """What a writer asks of a class; `checkpoints.ClassInfo` has it."""

    @property
    def value(self) -> int:
        """Number in the mask."""

    @property
    def name(self) -> str:
        """Name shown to the user."""

    @property
    def color(self) -> str:
        """Hexadecimal sRGB, "#rrggbb"."""


def label_suffixes() -> tuple[str, ...]:
    """Return the endings of files that a mask can be written to."""
    return (".nii", ".nii.gz", ".png", ".tif", ".tiff")


def write_labels(
    path: str | Path,
    labels: NDArray[Any],
    geometry: Geometry,
    *,
    classes: Sequence[LabelClass] = (),
    overwrite: bool = False,
    palette: bool = False,
) -> Path:
    """Write a mask on its image's grid, read it back and compare.

    Parameters
    ----------
    path : str or Path
        Target; its ending chooses the format (`label_suffixes`).
    labels : ndarray of integers
        In display order of `geometry`, no value below 0. Stored in the smallest
        unsigned type that holds them and the classes' values.
    geometry : Geometry
        Of the image that was segmented.
    classes : sequence of LabelClass
        The classes of the mask.
    overwrite : bool
        Whether an existing file may be replaced. The image itself never is.
    palette : bool
        Write an 8-bit PNG with the classes' colours; see `write_png`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    GeometryError
        If the labels are not of the geometry's display shape.
    OutputError
        If the file cannot be written, exists, is the image itself, or did not come
        back as written; what was there before is untouched.
    """
    output = labels_output(
        Path(path), labels, geometry, classes=classes, palette=palette
    )
    return write_all_safely([output], overwrite=overwrite)[0]


def labels_output(
    target: Path,
    labels: NDArray[Any],
    geometry: Geometry,
    *,
    classes: Sequence[LabelClass] = (),
    palette: bool = False,
) -> Output:
    """Describe the file of a mask for `write_all_safely`.

    Parameters
    ----------
    target : Path
        Its ending chooses the format.
    labels, geometry, classes, palette
        As for `write_labels`.

    Raises
    ------
    GeometryError, OutputError
        As `write_labels`, where that shows before anything is written.
    """
    name = target.name.lower()
    if not name.endswith(label_suffixes()):
        raise OutputError(
            f"A mask cannot be written as {target.name}: give it one of the endings "
            f"{', '.join(label_suffixes())}."
        )
    if labels.shape != geometry.display_shape:
        raise GeometryError(
            f"The mask has shape {labels.shape}, but its image is displayed as "
            f"{geometry.display_shape}: they do not belong together."
        )
    refuse_source(target, geometry)
    compact = smallest_labels(labels, classes)
    if name.endswith((".nii", ".nii.gz")):
        header, array = nifti_labels(compact, geometry)

        def write(part: Path) -> None:
            write_nifti(part, header, array)

        def same(part: Path) -> bool:
            return check_nifti(part, header, array)

    else:

        def write(part: Path) -> None:
            if name.endswith(".png"):
                write_png(part, compact, geometry, classes, palette=palette)
            else:
                write_tiff(part, compact, geometry)

        def same(part: Path) -> bool:
            back = read_labels(part)
            if name.endswith((".tif", ".tiff")) and not _same_size(back, geometry):
                return False
            array = back.array
            return array.dtype == compact.dtype and np.array_equal(array, compact)

    def check(part: Path) -> None:
        try:
            sound = same(part)
        except ImageError as error:
            raise _spoilt(target) from error
        if not sound:
            raise _spoilt(target)

    return Output(target, write, check)


def smallest_labels(
    labels: NDArray[Any], classes: Sequence[LabelClass] = ()
) -> NDArray[np.unsignedinteger[Any]]:
    """Store labels in the smallest unsigned type that holds them and the classes.

    Raises
    ------
    OutputError
        If they are no whole numbers of 0 or more.
    """
    if labels.dtype == bool:
        labels = labels.view(np.uint8)
    if labels.dtype.kind not in "iu":
        raise OutputError(f"A mask holds whole numbers, not {labels.dtype} values.")
    if labels.dtype.kind == "i" and labels.min(initial=0) < 0:
        raise OutputError("A mask cannot hold values below 0.")
    highest = max([int(labels.max(initial=0)), *(entry.value for entry in classes)])
    if highest > np.iinfo(np.uint32).max:
        raise OutputError(f"A mask cannot hold values as high as {highest}.")
    return labels.astype(np.min_scalar_type(highest), copy=False)


def _same_size(back: Image, geometry: Geometry) -> bool:
    """Whether a raster file tells the pixel size of its image."""
    written, meant = (
        np.array(g.display_spacing) * (g.mm_per_unit or 0.0)
        for g in (back.geometry, geometry)
    )
    return np.allclose(written, meant, rtol=1e-6, atol=0)


def _spoilt(target: Path) -> OutputError:
    return OutputError(
        f"{target} did not come back from the disk as written: check the disk, or "
        "choose another folder."
    )


def refuse_source(target: Path, geometry: Geometry, what: str = "mask") -> None:
    """Refuse to write over the image that a mask, or a table, belongs to.

    Raises
    ------
    OutputError
        If the target is the image, or one of its DICOM files.
    """
    source = geometry.source
    files = [source.path] if source.path else []
    files += source.dicom.files if source.dicom else ()
    if any(_same_file(target, file) for file in files):
        raise OutputError(
            f"{target} is the image itself: choose another name for the {what}."
        )


def _same_file(target: Path, source: str) -> bool:
    try:
        return os.path.samefile(target, source)
    except OSError:
        return False
