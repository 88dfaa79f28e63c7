"""The imagined scanner: voxel sizes, noise, and the way back to the working grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from napari_medurwkv.training.draw import Draw

__all__ = ["acquire", "draw_voxel_sizes"]

Sizes = tuple[float, float, float]


def draw_voxel_sizes(draw: Draw, thickest: float, *, deep: bool) -> Sizes:
    """Draw voxel sizes in mm (slice, row, column); those below the grid's do nothing.

    Two fifths of the scans are as fine as the grid or have voxels of 1 mm, one fifth
    has larger cubes, and the others have thick slices, most often axial ones; but of
    these only those are drawn whose voxels are larger than the grid's along the first
    axis, if `deep`, or are not.
    """
    while True:
        sizes = _voxel_sizes(draw, thickest)
        if deep == (sizes[0] > draw.step[0]):
            return sizes


def _voxel_sizes(draw: Draw, thickest: float) -> Sizes:
    kind = draw.rng.random()
    if kind < 0.2:
        return 0.0, 0.0, 0.0
    if kind < 0.4:
        return 1.0, 1.0, 1.0
    if kind < 0.6:
        size = draw.uniform(1.0, 3.0)
        return size, size, size
    sizes = [draw.uniform(0.6, 2.2)] * 3
    # Thick axial slices are the commonest; sagittal and coronal ones occur.
    axis = draw.rng.choice(3, p=[0.5, 0.25, 0.25])
    sizes[axis] = draw.uniform(1.5, max(1.5, thickest))
    return sizes[0], sizes[1], sizes[2]


def acquire(
    image: torch.Tensor, sizes: Sizes, strongest_noise: float, draw: Draw
) -> torch.Tensor:
    """Take the picture with voxels of `sizes` mm and bring it back to the grid.

    Parameters
    ----------
    image : Tensor, (Z, Y, X)
        Intensities on the grid.
    sizes : tuple of float
        mm; an axis on which voxels would be no larger than the grid's stays.
    strongest_noise : float
        Largest standard deviation.
    draw : Draw
        Chance.
    """
    ups = []
    for axis, size in enumerate(sizes):
        ratio = size / draw.step[axis]
        if ratio <= 1.0:
            continue
        down, up = _resampling(image.shape[axis], ratio, draw.uniform(-0.5, 0.5))
        image = _along(image, down, axis)
        ups.append((axis, up))
    noise = draw.uniform(0, strongest_noise)
    image = image + noise * draw.normal(tuple(image.shape))
    if draw.chance(0.5):  # magnitude images: noise is never negative
        image = image.abs()
    for axis, up in ups:
        image = _along(image, up, axis)
    return image


def _along(image: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    return (matrix @ image.movedim(axis, -2)).movedim(-2, axis)


def _resampling(
    length: int, spacing: float, phase: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices to thick voxels (m, length) and linearly back (length, m)."""
    centre = (length - 1) / 2 + phase * spacing
    reach = int(np.ceil(length / 2 / spacing)) + 1
    positions = centre + spacing * np.arange(-reach, reach + 1)
    index = np.arange(length)
    distance = np.abs(index[None] - positions[:, None])
    down = np.clip(spacing / 2 + 0.5 - distance, 0, 1)
    seen = down.sum(1) > 0.25
    positions, down = positions[seen], down[seen]
    down /= down.sum(1, keepdims=True)
    up = np.clip(1 - np.abs(index[:, None] - positions[None]) / spacing, 0, 1)
    up[index < positions[0]] = np.eye(len(positions))[0]
    up[index > positions[-1]] = np.eye(len(positions))[-1]
    return torch.from_numpy(down).float(), torch.from_numpy(up).float()
