"""The template brain that synthetic slices are made from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from napari_medurwkv.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BrainTemplate", "load_brain_template", "load_template_arrays"]

HEAD_SPACING = 2.0
"""mm; the distance map is smooth, half the resolution is enough."""

HEAD_MARGIN = 64.0
"""mm that the distance map reaches beyond the template's field of view."""


@dataclass(frozen=True, slots=True)
class BrainTemplate:
    """A template brain on a 1 mm grid in display order (superior, posterior, left).

    Attributes
    ----------
    maps : (4, Z, Y, X) float32 tensor
        Probabilities of grey matter, white matter and CSF inside the brain, and the
        template's own texture: its T1 intensity less what its tissues predict, in
        units of the contrast between white and grey matter.
    distance : (z, y, x) float32 tensor
        Signed distance to the brain's surface, mm, positive outside, on a grid of
        2 mm that reaches 64 mm beyond ``maps``.
    """

    maps: torch.Tensor
    distance: torch.Tensor


def load_brain_template(folder: Path | None = None) -> BrainTemplate:
    """Load the MNI ICBM152 2009a template that nilearn carries.

    Parameters
    ----------
    folder : Path, optional
        Where the three NIfTI files lie; by default inside the installed nilearn.

    Raises
    ------
    ImageError
        If nilearn is not installed or lacks the files.
    """
    t1, weights = load_template_arrays(folder)
    mask = t1 > 0
    means = (weights * t1).sum((1, 2, 3)) / weights.sum((1, 2, 3))
    expected = np.tensordot(means, weights, 1)
    texture = (t1 - expected) * mask / (means[1] - means[0])
    maps = torch.from_numpy(np.concatenate([weights, texture[None]]))
    return BrainTemplate(maps.float(), torch.from_numpy(_distance(mask)))


def load_template_arrays(
    folder: Path | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read the template's T1 and its tissue maps, 1 mm, in display order.

    Parameters
    ----------
    folder : Path, optional
        As in `load_brain_template`.

    Returns
    -------
    t1 : (Z, Y, X) float32 ndarray
        Skull-stripped, 0 to 255.
    tissues : (3, Z, Y, X) float32 ndarray
        Probabilities of grey matter, white matter and CSF; CSF is what the other two
        leave of the brain mask.

    Raises
    ------
    ImageError
        If nilearn is not installed or lacks the files.
    """
    if folder is None:
        spec = find_spec("nilearn")
        if spec is None or not spec.submodule_search_locations:
            raise ImageError(
                "The brain template comes with nilearn: run 'pip install nilearn'."
            )
        folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    t1, gm, wm = (_load_spl(folder, name) for name in ("t1", "gm", "wm"))
    mask = t1 > 0
    gm, wm = gm / 255 * mask, wm / 255 * mask
    csf = np.clip(mask - gm - wm, 0, 1)
    return t1, np.stack([gm, wm, csf])


def _load_spl(folder: Path, name: str) -> NDArray[np.float32]:
    path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise ImageError(f"The brain template lacks {path.name}: reinstall nilearn.")
    image = nib.load(path)
    wanted = nib.orientations.axcodes2ornt(("S", "P", "L"))
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), wanted
    )
    array = np.asanyarray(image.dataobj).astype(np.float32)
    return np.ascontiguousarray(nib.orientations.apply_orientation(array, turn))


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    step, margin = int(HEAD_SPACING), int(HEAD_MARGIN)
    # Closing joins the hemispheres: a skull does not follow the sulci.
    coarse = np.pad(mask, margin)[::step, ::step, ::step]
    coarse = ndimage.binary_closing(coarse, iterations=3)
    coarse = ndimage.binary_fill_holes(coarse)
    outside = ndimage.distance_transform_edt(~coarse, sampling=HEAD_SPACING)
    inside = ndimage.distance_transform_edt(coarse, sampling=HEAD_SPACING)
    return (outside - inside).astype(np.float32)
