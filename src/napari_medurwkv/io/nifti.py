"""NIfTI: read an image, write labels on its grid.

Only header fields and voxels are read; extensions, which carry patients' data and
sizes of their own, are neither read nor written.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from napari_medurwkv.errors import GeometryError, ImageError, OutputError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io.image import Image, clean_values
from napari_medurwkv.io.limits import DEFLATE_RATIO, check_claim

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["nifti_frame_count", "read_nifti", "read_nifti_geometry", "write_nifti"]

logger = logging.getLogger(__name__)

# Sizes of the two versions' binary headers.
HEADER_SIZES = {348: "NIfTI-1", 540: "NIfTI-2"}
# The header fields that say where voxels are. Nothing else of a header is copied:
# the rest describes intensities or may name the patient.
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
CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class NiftiFile:
    """A NIfTI file whose header has been read and found sound."""

    path: Path
    header: Any  # nibabel's Nifti1Header or Nifti2Header
    raw: bytes
    compressed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return tuple(int(n) for n in self.header.get_data_shape())

    @property
    def frames(self) -> int:
        """Volumes along the fourth axis."""
        return self.shape[3] if len(self.shape) > 3 else 1

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """File axes that are space: a single slice's own axis is left out."""
        space = self.shape[:3]
        axes = list(range(len(space)))
        if len(space) == 3 and 1 in space:
            axes.remove(max(axis for axis in axes if space[axis] == 1))
        return tuple(axes)


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
        Stored integers keep their type where the header states no scaling; scaled ones
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
    values = _read_values(file, chosen or 0)
    rgb = values.dtype.names is not None
    if rgb:
        values = np.stack([values[c] for c in ("R", "G", "B")], axis=-1)
    else:
        values = _scale(file, values)
    values, replaced = clean_values(values, str(path))
    array = geometry.to_display(values)
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return Image(array, geometry, rgb, name, notes + replaced)


def read_nifti_geometry(path: Path) -> Geometry:
    """Read only where a NIfTI image lies (of a 4D one, where each frame does)."""
    return _geometry(open_nifti(path), None)[0]


def nifti_frame_count(path: Path) -> int:
    """Count the volumes along the fourth axis, 1 unless 4D."""
    return open_nifti(path).frames


def open_nifti(path: Path) -> NiftiFile:
    """Read and check a header; no voxel is touched.

    Raises
    ------
    ImageError
        If the file is not a NIfTI image, is empty, or claims more than it can hold.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    with path.open("rb") as raw_file:
        compressed = raw_file.read(2) == b"\x1f\x8b"
    with _open_stream(path, compressed) as stream:
        start = _read_up_to(path, stream, 540)
    size = {
        int.from_bytes(start[:4], order): order  # type: ignore[arg-type]
        for order in ("little", "big")
    }
    known = next((n for n in HEADER_SIZES if n in size), None)
    magic = start[344:348] if known == 348 else start[4:8]
    if known is None or len(start) < known or magic[:2] not in (b"n+", b"ni"):
        raise ImageError(f"{path} is not a NIfTI image: {_looks_like(start)}.")
    if magic[:2] == b"ni":
        raise ImageError(
            f"{path} is one half of a .hdr/.img pair: convert it to .nii.gz."
        )
    raw = start[:known]
    try:
        header = (Nifti1Header if known == 348 else Nifti2Header)(raw, check=False)
        header.check_fix(logger=logger, error_level=40)
        file = NiftiFile(path, header, raw, compressed)
        dtype, offset = header.get_data_dtype(), int(header.get_data_offset())
        shape = file.shape
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        raise ImageError(f"{path} has a damaged NIfTI header: {error}.") from error
    if 0 in shape or not shape:
        raise ImageError(f"{path} is empty: its shape is {shape}.")
    if min(shape) < 0 or offset < known:
        raise ImageError(f"{path} has a damaged NIfTI header: its shape is {shape}.")
    if len(shape) < 2:
        raise ImageError(f"{path} has one axis only, so it is not an image.")
    if any(n > 1 for n in shape[4:]):
        raise ImageError(
            f"{path} holds several values per voxel (shape {shape}): save the one that "
            "is to be segmented as its own image."
        )
    claimed = offset + int(np.prod(shape, dtype=object)) * dtype.itemsize
    check_claim(path, claimed, ratio=DEFLATE_RATIO if compressed else 1.0)
    return file


def write_nifti(path: Path, labels: NDArray[Any], geometry: Geometry) -> None:
    """Write labels on their image's grid.

    The geometry fields of the image's header are copied bit for bit; without a header
    (the image was no NIfTI file) the affine becomes both sform and qform.

    Parameters
    ----------
    path : Path
        Ends in ``.nii`` or ``.nii.gz``.
    labels : ndarray of unsigned integers
        In display order of `geometry`.
    geometry : Geometry
        Of the image that was segmented.

    Raises
    ------
    GeometryError
        If the labels are not of the geometry's shape.
    """
    array = geometry.to_source(labels)
    if geometry.source.format == "nifti" and geometry.source.header is not None:
        header, shape = _header_like_source(geometry)
    else:
        header, shape, array = _header_of_affine(geometry, array)
    array = array.reshape(shape)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(shape)
    header.set_slope_inter(1, 0)
    header.set_intent("label", name="")
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    disk_type = array.dtype.newbyteorder(header.endianness)
    with path.open("wb") as raw_file:
        if path.name.lower().endswith(".gz"):
            # No time and no name inside: equal masks are equal files.
            stream = cast(
                "BinaryIO", gzip.GzipFile("", "wb", 6, fileobj=raw_file, mtime=0)
            )
        else:
            stream = raw_file
        header.write_to(stream)
        for piece in np.moveaxis(array, -1, 0):
            stream.write(piece.astype(disk_type).tobytes(order="F"))
        if stream is not raw_file:
            stream.close()


def _header_like_source(geometry: Geometry) -> tuple[Any, tuple[int, ...]]:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    raw = geometry.source.header
    shape = geometry.source.shape
    if raw is None or shape is None:
        raise OutputError("The image's NIfTI header is missing: open the image again.")
    kind = Nifti1Header if len(raw) == 348 else Nifti2Header
    source = kind(raw, check=False)
    header = kind(endianness=source.endianness)
    for name in GEOMETRY_FIELDS:
        header[name] = source[name]
    if any(n > 1 for n in shape[3:]):
        shape = shape[:3]
    return header, shape


def _header_of_affine(
    geometry: Geometry, array: NDArray[Any]
) -> tuple[Any, tuple[int, ...], NDArray[Any]]:
    from nibabel.nifti1 import Nifti1Header

    affine = geometry.affine
    if geometry.kind != "patient":
        # Rows of a raster go down and columns right: NIfTI's i and j, in LPS sense.
        axes = tuple(reversed(range(geometry.ndim)))
        array = array.transpose(axes)
        scale = geometry.mm_per_unit or 1.0
        sizes = [geometry.spacing[axis] * scale for axis in axes]
        sizes += [1.0] * (3 - geometry.ndim)
        affine = np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])
    shape = (*array.shape, *(1,) * (3 - array.ndim))
    header = Nifti1Header()
    header.set_data_shape(shape)
    # Code 1 in both: the one case in which nibabel, ITK and Slicer take the same.
    code = 1 if geometry.kind == "patient" else 2
    header.set_sform(affine, geometry.sform_code or code)
    sheared = not _is_orthogonal(affine)
    header.set_qform(affine, 0 if sheared else geometry.qform_code or code)
    header.set_xyzt_units("unknown" if geometry.unit == "pixel" else "mm")
    return header, shape, array


def _is_orthogonal(affine: NDArray[np.float64]) -> bool:
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(direction.T @ direction, np.eye(3), atol=1e-5))


def _choose_frame(file: NiftiFile, frame: int | None) -> int | None:
    count = file.frames
    if frame is None:
        if count > 1:
            raise ImageError(
                f"{file.path} has {count} frames: say which one to take, 0 to "
                f"{count - 1}, with the option frame (--frame)."
            )
        return None
    if not 0 <= frame < count:
        raise ImageError(
            f"{file.path} has no frame {frame}: its frames are 0 to {count - 1}."
        )
    return frame if count > 1 else None


def _geometry(file: NiftiFile, frame: int | None) -> tuple[Geometry, tuple[str, ...]]:
    from nibabel.spatialimages import HeaderDataError

    header = file.header
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    stated = bool(sform_code or qform_code)
    notes = []
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        if sform_code and qform_code and not _agree(affine, header.get_qform(), file):
            notes.append(
                "The header's qform and sform disagree; the sform is used, and the "
                "mask keeps both."
            )
    except (HeaderDataError, ValueError) as error:
        raise ImageError(
            f"{file.path} does not say where its voxels are ({error}): repair its "
            "qform and sform."
        ) from error
    if not stated:
        notes.append("The header states no orientation (qform and sform codes are 0).")
    length = header.get_xyzt_units()[0]
    factor = {"micron": 1e-3, "meter": 1e3}.get(length, 1.0)
    if factor != 1.0:
        notes.append(f"The header measures in {length}s; sizes are shown in mm.")
        affine[:3] *= factor
    axes = file.spatial_axes
    # The plane's normal comes last, wherever the single slice's axis was.
    order = [*axes, *(axis for axis in range(3) if axis not in axes), 3]
    source = SourceInfo(
        format="nifti",
        path=str(file.path),
        header=file.raw,
        shape=file.shape,
        frame=frame,
    )
    try:
        geometry = Geometry.from_affine(
            affine[:, order],
            [file.shape[axis] for axis in axes],
            source=source,
            sform_code=sform_code,
            qform_code=qform_code,
            assumed=not stated,
        )
    except GeometryError as error:
        raise ImageError(f"{file.path}: {error}") from error
    return geometry, tuple(notes)


def _agree(
    sform: NDArray[np.float64], qform: NDArray[np.float64], file: NiftiFile
) -> bool:
    """Whether two affines put every corner within a hundredth of a voxel."""
    shape = (*file.shape[:3], 1, 1)[:3]
    corners = np.array(
        [
            [i, j, k, 1]
            for i in (0, shape[0])
            for j in (0, shape[1])
            for k in (0, shape[2])
        ]
    )
    apart = np.abs((sform - qform)[:3] @ corners.T).max()
    sizes = np.linalg.norm(sform[:3, :3], axis=0)
    return bool(apart <= 0.01 * sizes[sizes > 0].min(initial=np.inf))


def _read_values(file: NiftiFile, frame: int) -> NDArray[Any]:
    """Read one frame: (spatial shape) array in the file's number type."""
    shape = tuple(file.shape[axis] for axis in file.spatial_axes)
    values = np.empty(shape, dtype=file.header.get_data_dtype(), order="F")
    start = int(file.header.get_data_offset()) + frame * values.nbytes
    buffer: Any = memoryview(cast("Any", values.reshape(-1, order="F").view(np.uint8)))
    with _open_stream(file.path, file.compressed) as stream:
        try:
            stream.seek(start)
            done = 0
            while done < len(buffer):
                # GzipFile.readinto goes through a bytes object: keep it small.
                count = stream.readinto(buffer[done : done + CHUNK])  # type: ignore[attr-defined]
                if not count:
                    raise EOFError(f"{len(buffer) - done} bytes are missing")
                done += count
            if file.compressed and frame == file.frames - 1:
                stream.read(1)  # makes gzip compare its checksum
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ImageError(
                f"{file.path} is truncated or damaged ({error}): copy it again."
            ) from error
    return values


def _scale(file: NiftiFile, values: NDArray[Any]) -> NDArray[Any]:
    """Apply the header's slope and intercept."""
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, inter = file.header.get_slope_inter()
    except HeaderDataError as error:
        raise ImageError(f"{file.path} has a damaged header: {error}.") from error
    if slope is None or (slope == 1 and inter == 0) or values.dtype.kind not in "iuf":
        return values
    small = values.dtype.itemsize <= (4 if values.dtype.kind == "f" else 2)
    scaled = np.empty(values.shape, np.float32 if small else np.float64, order="F")
    for index in range(values.shape[-1]):
        scaled[..., index] = values[..., index].astype(np.float64) * slope + inter
    return scaled


def _open_stream(path: Path, compressed: bool) -> BinaryIO:
    if compressed:
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _read_up_to(path: Path, stream: BinaryIO, count: int) -> bytes:
    try:
        return stream.read(count)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImageError(
            f"{path} is truncated or damaged ({error}): copy it again."
        ) from error


def _looks_like(start: bytes) -> str:
    if not start:
        return "the file has no content"
    if start[128:132] == b"DICM":
        return "it is a DICOM file"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start[:200]):
        return "it is a text file"
    return "its content does not begin with a NIfTI header"
