"""Arrays that cross to the engine process as .npy files, which both sides map.

They are written with plain file writes: writing through a mapping on a full disk
would end the writing process with a bus error instead of an exception.
"""

from __future__ import annotations

import errno
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.lib import format as npy

from napari_medurwkv.errors import ImageError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

__all__ = ["map_array", "write_image", "write_zeros"]

SLAB_BYTES = 64 * 2**20


def map_array(path: str | Path, mode: Literal["r", "r+", "c"]) -> NDArray[Any]:
    """Map a .npy file: to read, to share, or copied where it is written to."""
    array: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return array


def write_image(path: Path, array: Any, stop: Callable[[], bool]) -> bool:
    """Write an array to a .npy file, slab by slab along its first axis.

    Parameters
    ----------
    path : Path
        File to create.
    array : array-like
        Anything with shape, dtype and slicing; it may be lazy (dask, zarr, memmap).
    stop : callable
        Asked before every slab; True ends the writing.

    Returns
    -------
    bool
        False if it was stopped.

    Raises
    ------
    ImageError
        If the array does not hold real numbers.
    OutputError
        If there is no room for it.
    """
    dtype = np.dtype(array.dtype).newbyteorder("=")
    if dtype.kind not in "biuf":
        raise ImageError(
            f"The image holds values of type {dtype}; convert it to real numbers first."
        )
    try:
        with path.open("wb") as file:
            _write_header(file, array.shape, dtype)
            for rows in _slabs(array, dtype):
                if stop():
                    return False
                file.write(np.ascontiguousarray(array[rows], dtype=dtype).data)
    except OSError as error:
        raise _no_room(path, math.prod(array.shape) * dtype.itemsize, error) from error
    return True


def write_zeros(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write zeros to a .npy file, so that the room for them is really taken.

    Raises
    ------
    OutputError
        If there is no room for them.
    """
    left = math.prod(shape) * dtype.itemsize
    try:
        with path.open("wb") as file:
            _write_header(file, shape, dtype)
            zeros = bytes(min(left, SLAB_BYTES))
            while left:
                left -= file.write(zeros[:left])
    except OSError as error:
        raise _no_room(path, math.prod(shape) * dtype.itemsize, error) from error


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {
        "descr": npy.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": tuple(int(n) for n in shape),
    }
    npy.write_array_header_1_0(file, header)


def _slabs(array: Any, dtype: np.dtype[Any]) -> Iterator[slice]:
    """Cut the first axis into slabs that follow the array's own chunks."""
    length = array.shape[0]
    row_bytes = max(1, math.prod(array.shape[1:]) * dtype.itemsize)
    thickness = max(1, SLAB_BYTES // row_bytes)
    chunks = getattr(array, "chunks", None)
    if chunks:
        # Slabs across chunks would have every chunk computed or unpacked again.
        chunk = max(chunks[0]) if isinstance(chunks[0], tuple) else int(chunks[0])
        thickness = max(1, thickness // chunk) * chunk
    for start in range(0, length, thickness):
        yield slice(start, min(start + thickness, length))


def _no_room(path: Path, size: int, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(
            f"The temporary folder {path.parent} has no room for {size / 2**20:.0f} MB "
            "that the segmentation needs; free some, or set TMPDIR to another disk."
        )
    return OutputError(
        f"The temporary file {path} could not be written ({error.strerror}); "
        "set TMPDIR to a folder that can be written."
    )
