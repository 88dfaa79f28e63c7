"""The chance of one synthetic sample: numbers, coins and smooth fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Draw"]


@dataclass(frozen=True, slots=True)
class Draw:
    """The two random generators of one sample, and the grid it is drawn on.

    Attributes
    ----------
    rng : numpy.random.Generator
        For single numbers.
    torch_rng : torch.Generator
        For fields.
    step : (float, float, float)
        mm between neighbouring points of the grid (slice, row, column).
    """

    rng: np.random.Generator
    torch_rng: torch.Generator
    step: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def uniform(self, low: float, high: float) -> float:
        """Draw a number between two others."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Toss a coin."""
        return bool(self.rng.random() < probability)

    def smooth(
        self, channels: int, shape: tuple[int, ...], wavelength: float
    ) -> torch.Tensor:
        """Draw noise of unit variance at its nodes, `wavelength` mm apart.

        Returns
        -------
        Tensor of float32, (channels, *shape)
            Linear between the nodes.
        """
        nodes = [
            max(2, round(n * step / wavelength) + 2)
            for n, step in zip(shape, self.step, strict=True)
        ]
        noise = torch.randn(1, channels, *nodes, generator=self.torch_rng)
        return F.interpolate(noise, shape, mode="trilinear", align_corners=True)[0]

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw white noise of unit variance."""
        return torch.randn(shape, generator=self.torch_rng)
