"""Random crops and random changes: where, how turned, how bright."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.training.config import AugmentSettings

__all__ = ["IntensityChanges", "random_crop"]


def _placement(
    crop: int,
    settings: AugmentSettings,
    magnification: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], float]:
    """Draw the 2x2 matrix from crop offsets to image offsets, and its reach."""
    matrix = np.eye(2) / magnification
    reach = (crop - 1) / 2 / magnification
    if rng.random() < settings.affine:
        low, high = np.log(settings.zoom)
        angle = math.radians(rng.uniform(-settings.rotation, settings.rotation))
        shear = rng.uniform(-settings.shear, settings.shear)
        turn = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        turn = turn @ np.array([[1.0, shear], [0.0, 1.0]])
        turn /= math.exp(rng.uniform(low, high))
        matrix = turn @ matrix
        # Pixels from the middle to the farthest side, whatever turns follow.
        reach *= float(np.abs(turn).sum(axis=1).max())
    if rng.random() < settings.quarter_turns:
        matrix = matrix @ np.linalg.matrix_power(
            np.array([[0.0, -1.0], [1.0, 0.0]]), int(rng.integers(1, 4))
        )
    for axis in (0, 1):
        if rng.random() < settings.flip:
            matrix[:, axis] *= -1
    return matrix, reach


def _centre(
    labels: Tensor, reach: float, foreground: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the crop's middle in the image, on an object as often as asked for."""
    size = np.array(labels.shape, dtype=float)
    middle: NDArray[np.float64] | None = None
    if rng.random() < foreground:
        pixels = np.flatnonzero(labels.numpy())
        if len(pixels):
            chosen = int(pixels[rng.integers(len(pixels))])
            middle = np.array(divmod(chosen, labels.shape[1]), dtype=float)
            middle += rng.uniform(-reach, reach, 2) / 2
    if middle is None:
        middle = rng.uniform(0, size - 1)
    low = np.minimum(reach, (size - 1) / 2)
    return np.clip(middle, low, size - 1 - low)


def random_crop(
    image: Tensor,
    labels: Tensor,
    crop: int,
    settings: AugmentSettings,
    rng: np.random.Generator,
    magnification: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Cut a turned, flipped, zoomed and sheared square out of an image, in one step.

    Parameters
    ----------
    image : Tensor, shape (C, H, W)
        Any floating type.
    labels : Tensor of int, shape (H, W)
        Up to 2**24 (they pass through float32).
    crop : int
        Side of the square in pixels.
    settings : AugmentSettings
        Probabilities and ranges.
    rng : numpy.random.Generator
        Where every draw comes from.
    magnification : float
        How much larger the crop's pixels show the image, before any random zoom.

    Returns
    -------
    image : Tensor of float32, shape (C, crop, crop)
        Interpolated linearly.
    labels : Tensor of int64, shape (crop, crop)
        Nearest neighbours. Beyond the picture both are mirrored.
    """
    matrix, reach = _placement(crop, settings, magnification, rng)
    middle = _centre(labels, reach, settings.foreground, rng)
    if reach == (crop - 1) / 2:
        # Only turned or not at all: pixels stay pixels, nothing is interpolated.
        middle = np.round(middle - reach) + reach
    size = np.array(labels.shape)
    start = np.maximum(np.floor(middle - reach).astype(int) - 1, 0)
    stop = np.minimum(np.ceil(middle + reach).astype(int) + 2, size)
    window = (slice(start[0], stop[0]), slice(start[1], stop[1]))

    offsets = torch.arange(crop, dtype=torch.float32) - (crop - 1) / 2
    m = torch.from_numpy(matrix).float()
    rows = m[0, 0] * offsets[:, None] + m[0, 1] * offsets[None, :]
    columns = m[1, 0] * offsets[:, None] + m[1, 1] * offsets[None, :]
    origin, extent = middle - start, np.maximum(stop - start - 1, 1)
    grid = torch.stack(
        (
            (columns + float(origin[1])) * (2 / float(extent[1])) - 1,
            (rows + float(origin[0])) * (2 / float(extent[0])) - 1,
        ),
        dim=-1,
    )[None]

    def sampled(source: Tensor, mode: str) -> Tensor:
        return F.grid_sample(
            source[None], grid, mode=mode, padding_mode="reflection", align_corners=True
        )[0]

    pixels = sampled(image[(slice(None), *window)].float(), "bilinear")
    numbers = sampled(labels[window][None].float(), "nearest")[0]
    return pixels, numbers.long()


class IntensityChanges:
    """Random changes of intensity, for images scaled to about [0, 1].

    Gain, gamma, noise and blur are MONAI's; colour is ours, as a change per channel.

    Parameters
    ----------
    settings : AugmentSettings
        Probabilities and ranges.
    channels : int
        Channels that the network takes; a grey image is repeated to fill them where
        `repeat_grey`.
    repeat_grey : bool
        Whether one-channel images are repeated.
    clip : bool
        Whether the network only ever sees [0, 1].
    """

    def __init__(
        self,
        settings: AugmentSettings,
        channels: int,
        *,
        repeat_grey: bool,
        clip: bool,
    ) -> None:
        from monai.transforms import (
            RandAdjustContrast,
            RandGaussianNoise,
            RandGaussianSmooth,
        )

        self._settings = settings
        self._channels = channels
        self._repeat = repeat_grey
        self._clip = clip
        self._gamma = RandAdjustContrast(
            prob=settings.gamma, gamma=settings.gamma_range
        )
        self._blur = RandGaussianSmooth(
            settings.blur_sigma, settings.blur_sigma, prob=settings.blur
        )
        self._noise = RandGaussianNoise(prob=settings.noise, std=settings.noise_std)

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Change an image (C, H, W); returns (channels, H, W), float32."""
        s = self._settings
        state = np.random.RandomState(int(rng.integers(2**31)))
        for change in (self._gamma, self._blur, self._noise):
            change.set_random_state(state=state)
        grey = image.shape[0] == 1
        if rng.random() < s.invert:
            image = 1 - image
        if rng.random() < s.gain:
            gain = rng.uniform(*s.gain_range)
            image = (image - 0.5) * gain + 0.5 + rng.uniform(-s.offset, s.offset)
        # Noise comes before a grey image is repeated: it has to stay grey.
        for change in (self._gamma, self._blur, self._noise):
            image = _plain(change(image))
        if grey and self._repeat and self._channels > 1:
            image = image.expand(self._channels, -1, -1)
        if self._repeat and image.shape[0] == 3:
            if not grey and rng.random() < s.shuffle:
                image = image[torch.from_numpy(rng.permutation(3))]
            if rng.random() < (s.tint if grey else s.colour):
                gains = rng.uniform(0.0 if grey else s.gain_range[0], 1.0, 3)
                image = image * torch.from_numpy(gains).float()[:, None, None]
        return (image.clamp(0, 1) if self._clip else image).contiguous()


def _plain(image: Tensor) -> Tensor:
    """Drop MONAI's own tensor class, which would slow every later step."""
    tensor: Tensor = getattr(image, "as_tensor", lambda: image)()
    return tensor
