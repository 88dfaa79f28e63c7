"""The template as four test images: two resolutions, plain and inverted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import Image
from napari_medurwkv.training.template import load_template_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TemplateCase", "template_cases"]

_COARSE = (3.0, 2.0, 2.0)  # mm, display order: thick axial slices


@dataclass(frozen=True, slots=True)
class TemplateCase:
    """An image and its reference.

    Attributes
    ----------
    name : str
        What was done to the template.
    image : Image
        Grey volume in display order.
    labels : (Z, Y, X) uint8 ndarray
        0 background, 1 grey matter, 2 white matter, 3 CSF.
    """

    name: str
    image: Image
    labels: NDArray[np.uint8]


def template_cases(folder: Path | None = None) -> tuple[TemplateCase, ...]:
    """Make the four cases; `folder` as in `load_brain_template`.

    Inverting turns the intensities over inside the brain and leaves the background
    black, as a scan of another weighting would.
    """
    t1, tissues = load_template_arrays(folder)
    cases = []
    for spacing in ((1.0, 1.0, 1.0), _COARSE):
        image = _resampled(t1, spacing)
        maps = np.stack([_resampled(tissue, spacing) for tissue in tissues])
        brain = maps.sum(0) > 0.5
        labels = np.where(brain, maps.argmax(0) + 1, 0).astype(np.uint8)
        inverted = np.where(brain, image.max() - image, 0)
        size = " x ".join(f"{s:g}" for s in reversed(spacing)) + " mm"
        for name, array in ((size, image), (f"{size}, inverted", inverted)):
            cases.append(TemplateCase(name, _image(array, spacing, name), labels))
    return tuple(cases)


def _resampled(
    volume: NDArray[np.float32], spacing: tuple[float, ...]
) -> NDArray[np.float32]:
    """Average over the voxels of a coarser grid whose first edges coincide."""
    if max(spacing) == 1.0:
        return volume
    smooth = ndimage.gaussian_filter(volume, [0.42 * (s - 1) for s in spacing])
    shape = tuple(int(n // s) for n, s in zip(volume.shape, spacing, strict=True))
    offset = [(s - 1) / 2 for s in spacing]
    out: NDArray[np.float32] = ndimage.affine_transform(
        smooth, np.array(spacing), offset, shape, order=1, mode="nearest"
    )
    return out


def _image(array: NDArray[np.float32], spacing: tuple[float, ...], name: str) -> Image:
    # Source and display order are the same: superior, posterior, left.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing[0], -spacing[1], -spacing[2]
    affine[3, 3] = 1
    geometry = Geometry.from_affine(affine, array.shape)
    return Image(array=array, geometry=geometry, rgb=False, name=name)
