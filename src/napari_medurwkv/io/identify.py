"""Which kind of file is this? Its content decides, its name where that says nothing."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io.metaimage import is_metaimage
from napari_medurwkv.io.mgh import is_mgh
from napari_medurwkv.io.zarr_image import is_zarr

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Format", "identify", "is_dicom_folder", "supported_suffixes"]

Format = Literal["nifti", "nrrd", "metaimage", "mgh", "dicom", "zarr", "raster", "tiff"]

_SUFFIXES: dict[Format, tuple[str, ...]] = {
    "nifti": (".nii", ".nii.gz"),
    "nrrd": (".nrrd", ".nhdr"),
    "metaimage": (".mha", ".mhd"),
    "mgh": (".mgh", ".mgz", ".mgh.gz"),
    "dicom": (".dcm", ".dicom", ".ima"),
    "zarr": (".zarr",),
    "raster": (".png", ".jpg", ".jpeg"),
    "tiff": (".tif", ".tiff"),
}
MOST_LOOKED_AT = 200
_GZIP = b"\x1f\x8b"
_NIFTI_SIZES = (
    (348).to_bytes(4, "little"),
    (348).to_bytes(4, "big"),
    (540).to_bytes(4, "little"),
    (540).to_bytes(4, "big"),
)


def supported_suffixes() -> tuple[str, ...]:
    """Return the endings of files that can be read, lower case, with their dot."""
    return tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)


def is_dicom_folder(path: Path, *, deep: bool = False) -> bool:
    """Tell whether a folder holds DICOM files; looks at no more than 200 of its files.

    Parameters
    ----------
    path : Path
        The folder.
    deep : bool
        Whether files in folders within it count.
    """
    files = path.rglob("*") if deep else path.iterdir()
    for file in islice(files, MOST_LOOKED_AT):
        try:
            if file.is_file():
                with file.open("rb") as stream:
                    if stream.read(132)[128:] == b"DICM":
                        return True
        except OSError:
            continue  # a file of somebody else
    return False


def identify(path: Path) -> Format:
    """Tell the format of a file or folder.

    Parameters
    ----------
    path : Path
        A file, a folder of DICOM files, or an OME-Zarr folder.

    Returns
    -------
    Format

    Raises
    ------
    ImageError
        If it does not exist, cannot be opened, is empty or of no kind that is known.
    """
    if not path.exists():
        raise ImageError(f"{path} does not exist.")
    if path.is_dir():
        return "zarr" if is_zarr(path) else "dicom"
    try:
        with path.open("rb") as stream:
            start = stream.read(352)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read: {error.strerror or error}."
        ) from error
    name = path.name.lower()
    named = next(
        (kind for kind, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), None
    )
    found = _by_content(start)
    if found is not None:
        return found
    if not start:
        raise ImageError(f"{path} is empty: the file has no content.")
    if start.startswith(_GZIP) and named in ("nifti", "mgh"):
        return named
    if named in ("nifti", "nrrd", "metaimage", "mgh", "dicom"):
        return named  # its own reader says best what is wrong, or reads it after all
    if named is not None:
        raise ImageError(
            f"{path} is not a {path.suffix} image: its content is of another kind."
        )
    if start[:2] in (b"\x08\0", b"\x02\0") and len(start) > 8:
        return "dicom"  # without preamble, as old programs write it
    known = ", ".join(supported_suffixes())
    raise ImageError(f"{path} is of a kind that cannot be read: known are {known}.")


def _by_content(start: bytes) -> Format | None:
    if start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return "raster"
    # Before TIFF: some scanners fill the preamble of DICOM with a TIFF header.
    if start[128:132] == b"DICM":
        return "dicom"
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if start.startswith(b"NRRD0"):
        return "nrrd"
    if start[:4] in _NIFTI_SIZES:
        return "nifti"
    if is_metaimage(start):
        return "metaimage"
    return "mgh" if is_mgh(start) and len(start) >= 284 else None
