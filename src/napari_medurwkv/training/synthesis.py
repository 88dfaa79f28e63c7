"""Brain slices of any contrast, made from one template and its tissue maps.

Every sample is new: the anatomy is deformed, tissue borders are roughened, each tissue
gets a random intensity, a head may be grown around the brain, and the picture is taken
by a scanner of random resolution, bias field and noise. A network that has seen only
such pictures has to read borders and anatomy, not grey values. The idea is that of
Billot et al., SynthSeg, Medical Image Analysis 86 (2023); the model here is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import IterableDataset, get_worker_info

from napari_medurwkv.training.template import (
    HEAD_MARGIN,
    HEAD_SPACING,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medurwkv.checkpoints.card import IntensityRecipe
    from napari_medurwkv.training.template import BrainTemplate

__all__ = [
    "SynthesisConfig",
    "TemplateSlices",
]


class SynthesisConfig(BaseModel):
    """Ranges of the generative model; lengths in mm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: int = Field(1, ge=0, description="Neighbouring slices on each side.")
    contrasts: int = Field(2, ge=1, description="Scans of each anatomy in a row.")
    rotation: float = Field(15.0, ge=0, description="Degrees, standard deviation.")
    scale: float = Field(0.18, ge=0, lt=1, description="Largest relative change.")
    shear: float = Field(0.08, ge=0, description="Largest shear.")
    coarse_deformation: float = Field(6.0, ge=0, description="Amplitude at 32 mm.")
    fine_deformation: float = Field(1.3, ge=0, description="Amplitude at 9 mm.")
    border_noise: float = Field(0.16, ge=0, description="On tissue probabilities.")
    skull_probability: float = Field(0.5, ge=0, le=1, description="Of a whole head.")
    thick_slices: float = Field(5.5, ge=1, description="Largest slice thickness.")
    noise: float = Field(0.07, ge=0, description="Largest noise, of the full scale.")
    bias: float = Field(0.45, ge=0, description="Largest log amplitude of the bias.")


class TemplateSlices(IterableDataset[dict[str, torch.Tensor]]):
    """Endless stream of synthetic slices.

    Parameters
    ----------
    template : BrainTemplate
        Anatomy.
    patch_size : (int, int)
        Rows and columns of a sample, at 1 mm.
    recipe : IntensityRecipe
        Its ``mean`` and ``std`` are applied; its percentiles are imitated.
    config : SynthesisConfig
        Ranges.
    seed : int
        Of the stream; workers and epochs get streams of their own.

    Yields
    ------
    dict
        ``image``: (2 * context + 1, H, W) float32; ``target``: (H, W) int64 with
        0 background, 1 grey matter, 2 white matter, 3 CSF.
    """

    def __init__(
        self,
        template: BrainTemplate,
        patch_size: tuple[int, int],
        recipe: IntensityRecipe,
        config: SynthesisConfig | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.template = template
        self.patch_size = patch_size
        self.recipe = recipe
        self.config = config or SynthesisConfig()
        self.seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        stream = (self.seed, self.epoch, worker.id if worker else 0)
        self.epoch += 1
        rng = np.random.default_rng(stream)
        while True:
            yield from self.samples(rng)

    def samples(self, rng: np.random.Generator) -> tuple[dict[str, torch.Tensor], ...]:
        """Draw one anatomy and scan it `contrasts` times.

        The same generator state gives the same samples.
        """
        draw = _Draw(rng, torch.Generator().manual_seed(int(rng.integers(2**62))))
        c = self.config
        scans = [_scanner(draw, c.thick_slices) for _ in range(c.contrasts)]
        thickest = max(sizes[0] for sizes in scans)
        reach = int(np.ceil(thickest)) if thickest > 1 else 0
        shape = (2 * (c.context + reach) + 1, *self.patch_size)
        points = _deformed_grid(self.template, shape, c, draw)
        maps, distance = _look_up(self.template, points)
        memberships, labels = _tissues(maps, distance, c, draw)
        made = []
        for spacings in scans:
            image, high = _paint(memberships, maps[3], distance, points, c, draw)
            image = _acquire(image, spacings, c, draw)
            image = self._normalised(image, high, draw)
            made.append({"image": image.contiguous(), "target": labels})
        return tuple(made)

    def _normalised(
        self, image: torch.Tensor, high: float, draw: _Draw
    ) -> torch.Tensor:
        """Cut out the slices of the network's input and scale them by the recipe."""
        middle, context = image.shape[0] // 2, self.config.context
        image = image[middle - context : middle + context + 1]
        # Percentiles of a whole scan cannot be known from a slice; they are imitated.
        low, gain = draw.uniform(-0.04, 0.04), high * draw.uniform(0.75, 1.25)
        image = (image - low) / gain
        if self.recipe.clip:
            image = image.clamp(0, 1)
        if draw.chance(0.08):
            image = 1 - image
        return (image - self.recipe.mean) / self.recipe.std


@dataclass(frozen=True, slots=True)
class _Draw:
    """The two random generators of one sample."""

    rng: np.random.Generator
    torch_rng: torch.Generator

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def smooth(
        self, channels: int, shape: tuple[int, ...], wavelength: float
    ) -> torch.Tensor:
        """Smooth noise of unit variance at its nodes, (channels, *shape)."""
        nodes = [max(2, round(n / wavelength) + 2) for n in shape]
        noise = torch.randn(1, channels, *nodes, generator=self.torch_rng)
        return F.interpolate(noise, shape, mode="trilinear", align_corners=True)[0]

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=self.torch_rng)


def _scanner(draw: _Draw, thickest: float) -> tuple[float, float, float]:
    """Voxel sizes (slice, row, column) of the imagined scan; 1 means the grid's own."""
    kind = draw.rng.random()
    if kind < 0.4:
        return 1.0, 1.0, 1.0
    if kind < 0.6:
        size = draw.uniform(1.0, 3.0)
        return size, size, size
    sizes = [draw.uniform(1.0, 2.2)] * 3
    # Thick axial slices are the commonest; sagittal and coronal ones occur.
    axis = draw.rng.choice(3, p=[0.5, 0.25, 0.25])
    sizes[axis] = draw.uniform(2.0, thickest)
    return sizes[0], sizes[1], sizes[2]


def _deformed_grid(
    template: BrainTemplate,
    shape: tuple[int, int, int],
    config: SynthesisConfig,
    draw: _Draw,
) -> torch.Tensor:
    """Template coordinates (z, y, x) in voxels = mm, of every point; (*shape, 3)."""
    angles = np.deg2rad(draw.rng.normal(0, config.rotation, 3))
    matrix = np.diag(1 + draw.rng.uniform(-config.scale, config.scale, 3))
    matrix = matrix + np.triu(draw.rng.uniform(-config.shear, config.shear, (3, 3)), 1)
    for axis, angle in enumerate(angles):
        a, b = (i for i in range(3) if i != axis)
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    if draw.chance(0.5):
        matrix = matrix @ np.diag([1.0, 1.0, -1.0])
    size = np.array(template.maps.shape[1:], dtype=float)
    centre = size / 2 + draw.rng.uniform(-1, 1, 3) * np.array([82.0, 40.0, 30.0])
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    points = (
        grid @ torch.from_numpy(matrix.T).float() + torch.from_numpy(centre).float()
    )
    for amplitude, wavelength in (
        (config.coarse_deformation, 32.0),
        (config.fine_deformation, 9.0),
    ):
        field = draw.smooth(3, shape, wavelength).permute(1, 2, 3, 0)
        points += field * draw.uniform(0, amplitude) * 0.5
    return points


def _look_up(
    template: BrainTemplate, points: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample the template's maps (4, *shape) and its distance map (*shape)."""

    def sample(volume: torch.Tensor, where: torch.Tensor, padding: str) -> torch.Tensor:
        size = torch.tensor(volume.shape[-3:], dtype=torch.float32)
        normed = (where + 0.5) / size * 2 - 1
        return F.grid_sample(
            volume[None], normed.flip(-1)[None], padding_mode=padding,
            align_corners=False,
        )[0]  # fmt: skip

    maps = sample(template.maps, points, "zeros")
    head = (points + HEAD_MARGIN) / HEAD_SPACING
    return maps, sample(template.distance[None], head, "border")[0]


def _tissues(
    maps: torch.Tensor,
    distance: torch.Tensor,
    config: SynthesisConfig,
    draw: _Draw,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft memberships (3, *shape) of the tissues; hard labels of the middle slice."""
    shape = tuple(distance.shape)
    # An average brain has blurred, thick grey matter; real cortex is sharper, thinner
    # and folded. Shifts and noise on the probabilities give every sample its own.
    shift = torch.from_numpy(draw.rng.uniform(-0.12, 0.12, 3)).float()
    evidence = maps[:3] + shift[:, None, None, None]
    for wavelength in (2.5, 6.0):
        evidence = evidence + draw.smooth(3, shape, wavelength) * draw.uniform(
            0, config.border_noise
        )
    brain = maps[:3].sum(0)
    sharpness = draw.uniform(6, 25)
    memberships = torch.softmax(evidence * sharpness, 0) * brain
    middle = shape[0] // 2
    labels = evidence[:, middle].argmax(0) + 1
    return memberships, torch.where(brain[middle] > 0.5, labels, 0)


def _contrast(draw: _Draw) -> tuple[float, float, float]:
    """Mean intensities of grey matter, white matter and CSF, between 0 and 1."""
    kind = draw.rng.random()
    if kind < 0.35:  # T1: CSF dark, white matter bright
        gm = draw.uniform(0.4, 0.65)
        return gm, gm + draw.uniform(0.08, 0.35), draw.uniform(0.08, gm - 0.1)
    if kind < 0.6:  # T2: CSF bright, white matter dark
        wm = draw.uniform(0.15, 0.4)
        gm = wm + draw.uniform(0.08, 0.3)
        return gm, wm, draw.uniform(gm + 0.1, 1.0)
    if kind < 0.7:  # FLAIR and proton density: little contrast, CSF anywhere
        wm = draw.uniform(0.35, 0.6)
        return wm + draw.uniform(0.06, 0.2), wm, draw.uniform(0.05, 0.9)
    while True:
        gm, wm, csf = (draw.uniform(0.05, 1.0) for _ in range(3))
        if abs(gm - wm) > 0.1 and abs(gm - csf) > 0.06:
            return gm, wm, csf


def _paint(
    memberships: torch.Tensor,
    texture: torch.Tensor,
    distance: torch.Tensor,
    points: torch.Tensor,
    config: SynthesisConfig,
    draw: _Draw,
) -> tuple[torch.Tensor, float]:
    """Intensities (*shape) before the scanner, and the scan's bright end."""
    shape = tuple(distance.shape)
    gm, wm, csf = _contrast(draw)
    means = torch.tensor([gm, wm, csf])
    image = torch.tensordot(means, memberships, 1)
    image = image + texture * (wm - gm) * draw.uniform(0, 1)
    brain = memberships.sum(0)
    high = max(gm, wm, csf)
    if draw.chance(config.skull_probability):
        head, brightest = _head(distance, points, draw)
        image = image + head * (1 - brain)
        high = max(high, brightest)
    else:  # brain extraction leaves a rim, or cuts into the brain
        edge = draw.uniform(-1.5, 3.0)
        rim = torch.sigmoid((edge - distance) * 2)
        image = (image + draw.uniform(0, 1) * (1 - brain)) * rim
    grain = draw.smooth(1, shape, draw.uniform(1.5, 3.0))[0]
    image = image * (1 + grain * draw.uniform(0, 0.06))
    wave = draw.smooth(1, shape, draw.uniform(60, 140))[0]
    image = image * torch.exp(wave * draw.uniform(0, config.bias))
    return image, high


def _head(
    distance: torch.Tensor, points: torch.Tensor, draw: _Draw
) -> tuple[torch.Tensor, float]:
    """Grow fluid, bone, marrow and scalp around the brain, face and neck below."""
    shape = tuple(distance.shape)
    wobble = 1 + 0.25 * draw.smooth(1, shape, 40.0)[0]
    depth = distance / wobble.clamp(0.4, 1.8)
    fluid, bone, scalp = draw.uniform(0, 4), draw.uniform(2, 8), draw.uniform(2, 14)
    levels = [draw.uniform(0, 1), draw.uniform(0, 0.3), draw.uniform(0.2, 1.3)]
    edges = [fluid, fluid + bone, fluid + bone + scalp]
    if draw.chance(0.4):  # marrow between two tables of bone
        third = bone / 3
        edges = [fluid, fluid + third, fluid + 2 * third, *edges[1:]]
        levels = [levels[0], levels[1], draw.uniform(0, 1), *levels[1:]]
    image = torch.zeros(shape)
    start = torch.ones(shape)
    for edge, level in zip(edges, levels, strict=True):
        inside = torch.sigmoid((depth - edge) * -2.5)
        image = image * inside.lt(0.5) + level * inside * start
        start = 1 - inside
    if draw.chance(0.7):
        # Below and in front of the brain: a patchwork of muscle, fat, bone and air.
        cells = draw.smooth(1, shape, draw.uniform(6, 20))[0]
        patch = draw.uniform(0, 1) * (cells > 0.3) + draw.uniform(0, 0.6) * (
            cells < -0.4
        )
        patch = patch + draw.uniform(0, 0.7) * (cells.abs() <= 0.3)
        bottom = draw.uniform(40, 75) - points[..., 0]
        front = draw.uniform(20, 60) - points[..., 1]
        below = torch.sigmoid((torch.maximum(bottom, front.clamp(max=5)) - 5) / 2)
        reach = draw.uniform(15, 60)
        where = below * (depth > edges[-2] * 0.7) * (depth < reach)
        image = image * (1 - where) + patch * where
    return image, max(levels)


def _acquire(
    image: torch.Tensor,
    spacings: tuple[float, float, float],
    config: SynthesisConfig,
    draw: _Draw,
) -> torch.Tensor:
    """Take the picture at the scanner's resolution and bring it back to 1 mm."""
    ups = []
    for axis, spacing in enumerate(spacings):
        if spacing <= 1.0:
            continue
        down, up = _resampling(image.shape[axis], spacing, draw.uniform(-0.5, 0.5))
        image = _along(image, down, axis)
        ups.append((axis, up))
    noise = draw.uniform(0, config.noise)
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
