"""Brain slices of any contrast, made from one template and its tissue maps.

Every sample is new: the anatomy is deformed, tissue borders are roughened, each tissue
gets a random intensity, a head may be grown around the brain, and the picture is taken
by a scanner of random resolution, bias field and noise. A network that has seen only
such pictures has to read borders and anatomy, not grey values. The idea is that of
Billot et al., SynthSeg, Medical Image Analysis 86 (2023); the model here is our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import IterableDataset, get_worker_info

from napari_medurwkv.training.appearance import Contrast, Ranges, paint
from napari_medurwkv.training.draw import Draw
from napari_medurwkv.training.scanner import acquire, draw_voxel_sizes
from napari_medurwkv.training.template import HEAD_MARGIN, HEAD_SPACING

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
    faithful: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Part of the anatomies whose tissues are the template's own.",
    )


class TemplateSlices(IterableDataset[dict[str, torch.Tensor]]):
    """Endless stream of synthetic slices.

    Parameters
    ----------
    template : BrainTemplate
        Anatomy.
    patch_size : (int, int)
        Rows and columns of a sample.
    recipe : IntensityRecipe
        Its ``mean`` and ``std`` are applied; its percentiles are imitated.
    config : SynthesisConfig
        Ranges.
    seed : int
        Of the stream; workers and epochs get streams of their own.
    spacing : tuple of float
        mm between slices, rows and columns of a sample.

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
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.template = template
        self.patch_size = patch_size
        self.recipe = recipe
        self.config = config or SynthesisConfig()
        self.seed = seed
        self.spacing = (spacing[0], spacing[1], spacing[2])
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
        draw = Draw(
            rng,
            torch.Generator().manual_seed(int(rng.integers(2**62))),
            self.spacing,
        )
        c = self.config
        # Slices beyond the context are needed for thick ones only.
        deep = draw.chance(0.5)
        scans = [
            draw_voxel_sizes(draw, c.thick_slices, deep=deep)
            for _ in range(c.contrasts)
        ]
        thickest = max(sizes[0] for sizes in scans) / self.spacing[0]
        reach = int(np.ceil(thickest)) if thickest > 1 else 0
        shape = (2 * (c.context + reach) + 1, *self.patch_size)
        faithful = draw.chance(c.faithful)
        points = _deformed_grid(self.template, shape, c, draw, faithful=faithful)
        maps, distance = _look_up(self.template, points)
        if faithful:
            memberships, labels = _own_tissues(maps)
        else:
            memberships, labels = _tissues(maps, c, draw)
        skull = c.skull_probability * (0.5 if faithful else 1)
        ranges = Ranges(skull, c.bias, faithful)
        made = []
        for sizes in scans:
            image, contrast = paint(
                memberships, maps[3], distance, points, ranges, draw
            )
            image = acquire(image, sizes, c.noise, draw)
            image = self._normalised(image, contrast, draw)
            made.append({"image": image.contiguous(), "target": labels})
        return tuple(made)

    def _normalised(
        self, image: torch.Tensor, contrast: Contrast, draw: Draw
    ) -> torch.Tensor:
        """Cut out the slices of the network's input and scale them by the recipe."""
        middle, context = image.shape[0] // 2, self.config.context
        image = image[middle - context : middle + context + 1]
        # Percentiles of a whole scan cannot be known from a slice; they are imitated.
        low = draw.uniform(-0.04, 0.04) if draw.chance(0.6) else 0.0
        image = (image - low) / (contrast.high * draw.uniform(*contrast.gain))
        if self.recipe.clip:
            image = image.clamp(0, 1)
        if draw.chance(0.08):
            image = 1 - image
        return (image - self.recipe.mean) / self.recipe.std


def _deformed_grid(
    template: BrainTemplate,
    shape: tuple[int, int, int],
    config: SynthesisConfig,
    draw: Draw,
    *,
    faithful: bool,
) -> torch.Tensor:
    """Template coordinates (z, y, x) in voxels = mm, of every point; (*shape, 3)."""
    calm = draw.uniform(0, 0.7) if faithful else 1.0
    angles = np.deg2rad(calm * draw.rng.normal(0, config.rotation, 3))
    scale, shear = calm * config.scale, calm * config.shear
    matrix = np.diag(1 + draw.rng.uniform(-scale, scale, 3))
    matrix = matrix + np.triu(draw.rng.uniform(-shear, shear, (3, 3)), 1)
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
    axes = [
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * step
        for n, step in zip(shape, draw.step, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    points = (
        grid @ torch.from_numpy(matrix.T).float() + torch.from_numpy(centre).float()
    )
    for amplitude, wavelength in (
        (config.coarse_deformation, 32.0),
        (config.fine_deformation, 9.0),
    ):
        field = draw.smooth(3, shape, wavelength).permute(1, 2, 3, 0)
        points += field * draw.uniform(0, amplitude) * 0.5 * calm
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


def _own_tissues(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft memberships (3, *shape) and labels that the template itself has."""
    middle = maps[:3, maps.shape[1] // 2]
    labels = torch.where(middle.sum(0) > 0.5, middle.argmax(0) + 1, 0)
    return maps[:3], labels


def _tissues(
    maps: torch.Tensor,
    config: SynthesisConfig,
    draw: Draw,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft memberships (3, *shape) of the tissues; hard labels of the middle slice."""
    shape = tuple(maps.shape[1:])
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
