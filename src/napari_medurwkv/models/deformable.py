"""Multi-scale deformable attention in plain torch."""

from __future__ import annotations

from math import cos, pi, sin
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from napari_medurwkv.models.blocks import Grid

__all__ = ["DeformableAttention", "reference_points"]


def reference_points(grids: tuple[Grid, ...], device: torch.device) -> Tensor:
    """Return the centres of the cells of some grids, one grid after the other.

    Parameters
    ----------
    grids : tuple of (H, W)
        Sizes in cells.
    device : torch.device
        Where to put them.

    Returns
    -------
    Tensor
        (N, 2) as (x, y) in units of the grid's width and height. They are float32
        whatever the network's precision, because the published ones are.
    """
    points = []
    for height, width in grids:
        y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack((columns, rows), -1).reshape(-1, 2))
    return torch.cat(points)


class DeformableAttention(nn.Module):
    """Let each query sample a few points of some feature maps.

    Parameters
    ----------
    dim : int
        Width of queries and features.
    levels, heads, points : int
        Number of maps, of heads, and of points per head and map.
    ratio : float
        Width of the sampled values, in multiples of `dim`.
    """

    def __init__(
        self, dim: int, *, levels: int, heads: int, points: int, ratio: float
    ) -> None:
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        inner = int(dim * ratio)
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, inner)
        self.output_proj = nn.Linear(inner, dim)

    @torch.no_grad()
    def reset(self) -> None:
        """Start with every head looking its own way, one cell further per point."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = [2 * pi * head / self.heads for head in range(self.heads)]
        ring = torch.tensor([[cos(angle), sin(angle)] for angle in angles])
        ring = ring / ring.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=ring.dtype)
        start = ring[:, None, None, :] * steps[None, None, :, None]
        start = start.expand(-1, self.levels, -1, -1)
        self.sampling_offsets.bias.copy_(start.reshape(-1))
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, query: Tensor, centres: Tensor, features: Tensor, grids: tuple[Grid, ...]
    ) -> Tensor:
        """Sample `features` around `centres`.

        Parameters
        ----------
        query : Tensor
            (B, Q, C).
        centres : Tensor
            (Q, 2), from `reference_points`.
        features : Tensor
            (B, N, C), the tokens of all maps, one map after the other.
        grids : tuple of (H, W)
            Sizes of the maps.

        Returns
        -------
        Tensor
            (B, Q, C).
        """
        batch, queries, _ = query.shape
        heads, levels, points = self.heads, self.levels, self.points
        weights = self.attention_weights(query).reshape(batch, queries, heads, -1)
        weights = weights.softmax(-1).unflatten(-1, (levels, points))
        offsets = self.sampling_offsets(query)
        wide = torch.promote_types(offsets.dtype, torch.float32)
        offsets = offsets.to(wide).reshape(batch, queries, heads, levels, points, 2)
        values = self.value_proj(features).to(wide)
        maps = values.split([height * width for height, width in grids], 1)
        sampled = []
        for level, (height, width) in enumerate(grids):
            size = offsets.new_tensor((width, height))
            places = centres[:, None, None, :] + offsets[:, :, :, level] / size
            places = (2 * places - 1).transpose(1, 2).flatten(0, 1)
            plane = maps[level].reshape(batch, height, width, heads, -1)
            plane = plane.permute(0, 3, 4, 1, 2).flatten(0, 1)
            # (B * heads, channels per head, Q, points)
            sampled.append(
                F.grid_sample(
                    plane,
                    places,
                    mode="bilinear",
                    padding_mode="zeros",
                    align_corners=False,
                )
            )
        taken = torch.cat(sampled, -1).unflatten(0, (batch, heads))
        strength = weights.flatten(-2).to(wide).permute(0, 2, 1, 3).unsqueeze(2)
        mixed = (taken * strength).sum(-1)
        out: Tensor = self.output_proj(mixed.flatten(1, 2).transpose(1, 2))
        return out
