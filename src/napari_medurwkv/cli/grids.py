"""Whether two files hold the same grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medurwkv.errors import GeometryError

if TYPE_CHECKING:
    from napari_medurwkv.geometry import Geometry

__all__ = ["SAME_PLACE", "check_same_grid"]

SAME_PLACE = 1e-3
"""Voxel positions that differ by less, in the unit of the affine, are the same."""


def check_same_grid(first: Geometry, second: Geometry) -> None:
    """Refuse masks whose voxels are not at the same places.

    Raises
    ------
    GeometryError
        If shape, place, orientation or voxel size differ, or only one of them says
        where in the patient it lies.
    """
    import numpy as np

    if first.display_shape != second.display_shape:
        raise GeometryError(
            f"The masks lie on different grids, {_text(first)} and {_text(second)} "
            "voxels; add --resample to bring the mask onto the reference's."
        )
    if (first.kind == "patient") != (second.kind == "patient"):
        raise GeometryError(
            "Only one of the masks says where in the patient it lies, so they cannot "
            "be compared; save both as NIfTI, or both as pictures."
        )
    if first.kind == "none" or second.kind == "none":
        return
    if first.unit != second.unit or not np.allclose(
        first.display_affine, second.display_affine, rtol=0, atol=SAME_PLACE
    ):
        raise GeometryError(
            "The masks have the same shape but lie at different places or have "
            "different voxel sizes; add --resample to bring the mask onto the "
            "reference's grid."
        )


def _text(geometry: Geometry) -> str:
    return " x ".join(map(str, geometry.display_shape))
