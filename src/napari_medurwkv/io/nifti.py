"""NIfTI: read an image, write labels on its grid."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_medurwkv.errors import GeometryError, ImageError, OutputError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io.image import Image, clean_values
from napari_medurwkv.io.nifti_header import (
    NIFTI1_SIZE,
    NiftiFile,
    empty_header,
    open_nifti,
    parse_header,
)
from napari_medurwkv.io.volume import as_volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "check_nifti",
    "is_nifti_label",
    "nifti_frame_count",
    "nifti_labels",
    "read_nifti",
    "write_nifti",
]

# The header fields that say where voxels are. Nothing else of a header is copied: the
# rest describes intensities and times, or may name the patient.
GEOMETRY_FIELDS = (
    "dim_info",
    "pixdim",
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)
LABEL_INTENT = 1002
# What a mask's "descrip" says where its image was loaded in spite of gaps or tilt.
APPROXIMATE = b"geometry approximate"
MOST_NIFTI1 = 2**15 - 1
# Read in pieces: GzipFile.readinto goes through a bytes object of the size asked for.
CHUNK = 1 << 22


def read_nifti(path: Path, *, frame: int | None = None) -> Image:
    """Read a 2D or 3D image, or one frame of a 4D one.

    Parameters
    ----------
    path : Path
        A ``.nii`` or ``.nii.gz`` file.
    frame : int, optional
        Which volume of a 4D image, from 0.

    Returns
    -------
    Image
        Stored numbers keep their type where the header states no scaling; scaled ones
        become float32 (float64 from 32-bit integers on).

    Raises
    ------
    ImageError
        If the file is no sound NIfTI image, is empty, claims more than it holds, needs
        a frame and got none, or has no finite value.
    """
    file = open_nifti(path)
    chosen = _choose_frame(file, frame)
    geometry, notes = _geometry(file, chosen)
    values = _scale(file, _read_values(file, chosen or 0))
    rgb = values.dtype.names is not None
    if rgb:
        values = np.stack([values[c] for c in ("R", "G", "B")], axis=-1)
    values, replaced = clean_values(values, str(path))
    name = path.name
    for suffix in (".gz", ".nii"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return Image(geometry.to_display(values), geometry, rgb, name, notes + replaced)


def nifti_frame_count(path: Path) -> int:
    """Count the volumes along the fourth axis, 1 unless 4D."""
    return open_nifti(path).frames


def is_nifti_label(path: Path) -> bool:
    """Whether a header's intent is "label" (1002)."""
    return int(open_nifti(path).header["intent_code"]) == LABEL_INTENT


def nifti_labels(labels: NDArray[Any], geometry: Geometry) -> tuple[Any, NDArray[Any]]:
    """Lay labels on their image's grid: the header and array of their file.

    The geometry fields of the image's header are copied bit for bit. Without a header
    (the image was no NIfTI file) the affine becomes sform and qform; rows and columns
    of an image without anatomy become j and i, in LPS sense.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        In display order of `geometry`.
    geometry : Geometry
        Of the image that was segmented.

    Returns
    -------
    header : nibabel.nifti1.Nifti1Header
        Or a Nifti2Header; carries nothing that could name a patient.
    array : ndarray
        As it lies in the file, singleton axes included.

    Raises
    ------
    GeometryError
        If the labels are not of the geometry's shape.
    """
    array = geometry.to_source(labels)
    source = geometry.source
    if source.format == "nifti":
        if source.header is None or source.shape is None:
            raise OutputError("The image's header is lost: open the image again.")
        origin = parse_header(source.header)
        shape = source.shape
        if any(n > 1 for n in shape[3:]):
            shape = shape[:3]  # one frame
        header = _header_for(origin, shape)
        header.set_data_shape(shape)
        for name in GEOMETRY_FIELDS:
            header[name] = origin[name]
    else:
        affine = geometry.affine
        if geometry.kind != "patient":
            array = array.transpose()
            affine = _raster_affine(geometry)
        array, affine = as_volume(array, affine, geometry)
        shape = array.shape
        header = _header_of_affine(affine, shape, geometry)
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    header.set_intent("label", name="")
    if geometry.approximate:
        # Why, is in the sidecar; the field holds 80 bytes, and no free text goes here.
        header["descrip"] = APPROXIMATE
    return header, array.reshape(shape)


def write_nifti(path: Path, header: Any, array: NDArray[Any]) -> None:
    """Write what `nifti_labels` laid out.

    Parameters
    ----------
    path : Path
        Ends in ``.nii`` or ``.nii.gz``.
    header, array
        Of `nifti_labels`.
    """
    with path.open("wb") as file:
        if not path.name.lower().endswith(".gz"):
            _write_content(file, header, array)
            return
        # No time and no name inside: equal masks are equal files.
        with gzip.GzipFile("", "wb", 4, fileobj=file, mtime=0) as packed:
            _write_content(packed, header, array)


def check_nifti(path: Path, header: Any, array: NDArray[Any]) -> bool:
    """Tell whether a file holds what `write_nifti` was given."""
    file = open_nifti(path)
    written = parse_header(file.raw)  # without nibabel's repairs
    if file.shape != array.shape or any(
        written[name].tobytes() != header[name].tobytes() for name in GEOMETRY_FIELDS
    ):
        return False
    squeezed = array.reshape(tuple(file.shape[axis] for axis in file.spatial_axes))
    return bool(np.array_equal(_read_values(file, 0), squeezed))


def _write_content(stream: Any, header: Any, array: NDArray[Any]) -> None:
    header.write_to(stream)
    disk_type = array.dtype.newbyteorder(header.endianness)
    for piece in np.moveaxis(array, -1, 0):
        stream.write(piece.astype(disk_type).tobytes(order="F"))


def _header_for(origin: Any, shape: tuple[int, ...]) -> Any:
    """Make the empty header of a mask: NIfTI-1 wherever that says the same.

    ITK, and so 3D Slicer and ITK-SNAP, reads no NIfTI-2; few such images need it.
    """
    header = empty_header(origin)
    if header["sizeof_hdr"] == NIFTI1_SIZE or max(shape) > MOST_NIFTI1:
        return header
    simple = empty_header()
    for name in GEOMETRY_FIELDS:
        simple[name] = origin[name]
    # NIfTI-1 stores single precision; where that moved anything, NIfTI-2 stays.
    exact = all(np.array_equal(simple[n], origin[n]) for n in GEOMETRY_FIELDS)
    return empty_header() if exact else header


def _raster_affine(geometry: Geometry) -> NDArray[np.float64]:
    """Columns go to the left, rows to the back, slices up: as they are displayed."""
    scale = geometry.mm_per_unit or 1.0
    sizes = [size * scale for size in reversed(geometry.spacing)]
    sizes += [1.0] * (3 - geometry.ndim)
    return np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])


def _header_of_affine(
    affine: NDArray[np.float64], shape: tuple[int, ...], geometry: Geometry
) -> Any:
    header = empty_header()
    header.set_data_shape(shape)
    # Scanner space (1) in both is the one case in which nibabel, ITK and Slicer take
    # the same form; "aligned" (2) is what a grid without anatomy may claim at most.
    code = 1 if geometry.kind == "patient" else 2
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    sheared = not np.allclose(direction.T @ direction, np.eye(3), atol=1e-5)
    header.set_qform(affine, 0 if sheared else code)
    header.set_sform(affine, code)
    header.set_xyzt_units("unknown" if geometry.mm_per_unit is None else "mm")
    return header


def _choose_frame(file: NiftiFile, frame: int | None) -> int | None:
    count = file.frames
    if frame is None and count > 1:
        raise ImageError(
            f"{file.path} has {count} frames: say which one to take, 0 to {count - 1}, "
            "with the option frame (--frame)."
        )
    if frame is not None and not 0 <= frame < count:
        raise ImageError(
            f"{file.path} has no frame {frame}: its frames are 0 to {count - 1}."
        )
    return frame if count > 1 else None


def _geometry(file: NiftiFile, frame: int | None) -> tuple[Geometry, tuple[str, ...]]:
    affine, notes = _affine(file)
    axes = file.spatial_axes
    # The plane's normal comes last, wherever the single slice's axis was.
    order = [*axes, *(axis for axis in range(3) if axis not in axes), 3]
    sform_code = int(file.header["sform_code"])
    qform_code = int(file.header["qform_code"])
    try:
        geometry = Geometry.from_affine(
            affine[:, order],
            [file.shape[axis] for axis in axes],
            source=SourceInfo(
                format="nifti",
                path=str(file.path.absolute()),
                header=file.raw,
                shape=file.shape,
                frame=frame,
            ),
            sform_code=sform_code,
            qform_code=qform_code,
            assumed=not (sform_code or qform_code),
            approximate="as the file itself says"
            if file.header["descrip"].item() == APPROXIMATE
            else "",
        )
    except GeometryError as error:
        raise ImageError(
            f"{file.path} does not say where its voxels are: its "
            f"{'sform' if sform_code else 'qform'} is singular; repair the header."
        ) from error
    return geometry, notes


def _affine(file: NiftiFile) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Take the affine that nibabel takes, in mm, and say what is odd about it."""
    from nibabel.spatialimages import HeaderDataError

    header = file.header
    notes = []
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        if header["sform_code"] and header["qform_code"]:
            if not _agree(affine, header.get_qform(), file.shape):
                notes.append(
                    "The header's qform and sform disagree: the sform is used here, "
                    "other programs may use the qform; the mask keeps both."
                )
        elif not (header["sform_code"] or header["qform_code"]):
            notes.append("The header states no orientation; one is assumed.")
        length = header.get_xyzt_units()[0]
    except (HeaderDataError, ValueError, KeyError) as error:
        raise ImageError(
            f"{file.path} does not say where its voxels are ({error}): repair its "
            "header."
        ) from error
    factor = {"micron": 1e-3, "meter": 1e3}.get(length)
    if factor is not None:
        notes.append(f"The header counts in {length}s; sizes are shown in mm.")
        affine[:3] *= factor
    return affine, tuple(notes)


def _agree(
    sform: NDArray[np.float64], qform: NDArray[np.float64], shape: tuple[int, ...]
) -> bool:
    """Whether two affines put every corner in the same place, to a tenth of a voxel."""
    ends = (*shape[:3], 1, 1)[:3]
    corners = np.array(
        [[*np.multiply(corner, ends), 1] for corner in np.ndindex(2, 2, 2)]
    )
    apart = float(np.abs((sform - qform)[:3] @ corners.T).max())
    sizes = np.linalg.norm(sform[:3, :3], axis=0)
    return apart <= 0.1 * float(sizes[sizes > 0].min(initial=np.inf))


def _read_values(file: NiftiFile, frame: int) -> NDArray[Any]:
    """Read one frame: (spatial shape) array in the file's number type."""
    shape = tuple(file.shape[axis] for axis in file.spatial_axes)
    values = np.empty(shape, dtype=file.header.get_data_dtype(), order="F")
    # F order makes the file's bytes one run in memory.
    flat = values.reshape(-1, order="F").view(np.uint8)
    buffer = memoryview(cast("Any", flat))
    with file.stream() as stream:
        stream.seek(int(file.header.get_data_offset()) + frame * values.nbytes)
        done = 0
        while done < len(buffer):
            count = stream.readinto(buffer[done : done + CHUNK])  # type: ignore[attr-defined]
            if not count:
                raise EOFError(f"{len(buffer) - done} bytes are missing")
            done += count
        if file.compressed and frame == file.frames - 1:
            stream.read(1)  # at its end gzip compares its checksum
    return values


def _scale(file: NiftiFile, values: NDArray[Any]) -> NDArray[Any]:
    """Apply the header's slope and intercept."""
    slope, inter = file.header.get_slope_inter()
    if slope is None or (slope == 1 and inter == 0) or values.dtype.kind not in "iuf":
        return values
    small = values.dtype.itemsize <= (4 if values.dtype.kind == "f" else 2)
    scaled = np.empty(values.shape, np.float32 if small else np.float64, order="F")
    for index in range(values.shape[-1]):
        scaled[..., index] = values[..., index].astype(np.float64) * slope + inter
    return scaled
