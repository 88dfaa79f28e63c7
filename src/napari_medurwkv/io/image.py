"""An image in display order, and the way an array becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medurwkv.io.label_names import LabelName

__all__ = ["Image", "image_from_array"]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An image as every module of the program sees it.

    Parameters
    ----------
    array : ndarray or LazyArray
        In display order, ``(Y, X)`` or ``(Z, Y, X)``, with a last axis of 3 for colour.
        Finite numbers only, unless it is lazy.
    geometry : Geometry
        Where it lies, and the way back to the file.
    rgb : bool
        Whether the last axis is colour.
    name : str
        File name without suffix, or layer name.
    notes : tuple of str
        What the user should know about how the file was read, one sentence each.
    classes : tuple of LabelName
        Names and colours of a mask's values, where its file has them.
    """

    array: Any
    geometry: Geometry
    rgb: bool
    name: str
    notes: tuple[str, ...] = ()
    classes: tuple[LabelName, ...] = ()


def image_from_array(
    array: ArrayLike,
    *,
    spacing: Sequence[float] | None = None,
    affine: ArrayLike | None = None,
    rgb: bool | None = None,
    unit: str = "mm",
    name: str = "image",
) -> Image:
    """Make an image of an array.

    Parameters
    ----------
    array : array_like
        2D or 3D numbers, with a last axis of 3 or 4 for colour (a fourth, alpha, is
        dropped). In display order ``(Y, X)`` or ``(Z, Y, X)``; with `affine`, in the
        order whose index the affine takes, as nibabel gives it.
    spacing : sequence of float, optional
        Voxel size per axis of the array, in `unit`. Not together with `affine`.
    affine : (4, 4) array_like, optional
        Index to RAS mm.
    rgb : bool, optional
        Whether the last axis is colour. Guessed by default: it is, where it has 3 or 4
        entries and every other axis has more than that.
    unit : str
        Unit of `spacing`: "mm", "um" or "nm".
    name : str
        Name of the image.

    Returns
    -------
    Image
        Shares memory with the array where it can.

    Raises
    ------
    ImageError
        If the array is empty, has other than 2 or 3 spatial axes, holds no numbers or
        nothing but NaN.
    """
    values = np.asarray(array)
    if rgb is None:
        last = values.shape[-1] if values.ndim else 0
        rgb = values.ndim >= 3 and last in (3, 4) and min(values.shape[:-1]) > last
    if rgb and values.shape[-1] not in (3, 4):
        raise ImageError(
            f"A colour image needs a last axis of 3 or 4, this one has {values.shape}."
        )
    if rgb:
        values = values[..., :3]
    shape = values.shape[:-1] if rgb else values.shape
    if len(shape) not in (2, 3):
        raise ImageError(
            f"An image needs 2 or 3 spatial axes, this array has shape {values.shape}."
        )
    values, notes = clean_values(values, "The array")
    if affine is None:
        geometry = Geometry.plain(shape, spacing, unit)
    elif spacing is None:
        geometry = Geometry.from_affine(affine, shape)
    else:
        raise ImageError("Give either the spacing or the affine, not both.")
    return Image(geometry.to_display(values), geometry, rgb, name, notes)


def clean_values(
    values: NDArray[Any], what: str
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Check that values can be an image, and take out what is not finite.

    NaN and infinities become 0: in most files they stand for "outside the measured
    field", and 0 is what recipes treat as background. Their number is reported.

    Parameters
    ----------
    values : ndarray
        As read. Not changed: where values must be, a copy is.
    what : str
        Subject of the error's sentence.

    Returns
    -------
    values : ndarray
        Finite, of a native byte order; bool becomes uint8.
    notes : tuple of str
        A sentence where values were replaced.

    Raises
    ------
    ImageError
        If there are no values, no numbers, or none that is finite.
    """
    if values.size == 0:
        raise ImageError(f"{what} is empty: its shape is {values.shape}.")
    if values.dtype == bool:
        return values.view(np.uint8), ()
    if values.dtype.kind not in "iuf":
        raise ImageError(f"{what} holds {values.dtype} values, not real numbers.")
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind != "f":
        return values, ()
    if values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    finite = np.isfinite(values)
    missing = values.size - int(np.count_nonzero(finite))
    if missing == 0:
        return values, ()
    if missing == values.size:
        raise ImageError(
            f"{what} holds no finite value, only NaN or infinity: nothing can be "
            "segmented in it."
        )
    percent = 100 * missing / values.size
    return np.where(finite, values, values.dtype.type(0)), (
        f"{missing} values ({percent:.2g} %) were NaN or infinite and count as 0.",
    )
