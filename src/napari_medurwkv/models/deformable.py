"""Multi-scale deformable attention in plain torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.models.blank import is_blank

if TYPE_CHECKING:
    from napari_medurwkv.models.shift import Grid

__all__ = ["DeformableAttention", "Sampling", "reference_points"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Where queries look in feature maps, in the coordinates of ``grid_sample``.

    Attributes
    ----------
    centres : Tensor
        (Q, 2) as (x, y), from -1 to 1 across the image.
    cells : Tensor
        (levels, 1, 2), width and height of a cell of each map.
    grids : tuple of (H, W)
        Sizes of the maps, in cells.
    """

    centres: Tensor
    cells: Tensor
    grids: tuple[Grid, ...]

    @classmethod
    def between(
        cls, queries: tuple[Grid, ...], features: tuple[Grid, ...], like: Tensor
    ) -> Sampling:
        """Let the cells of some grids, one grid after the other, look at others.

        Device and precision (float32 at least) are those of `like`.
        """
        wide = torch.promote_types(like.dtype, torch.float32)
        cells = torch.stack(
            [
                torch.full((1,), 2 / size, dtype=wide, device=like.device)
                for height, width in features
                for size in (width, height)
            ]
        )
        return cls(
            centres=2 * reference_points(queries, like.device).to(wide) - 1,
            cells=cells.reshape(len(features), 1, 2),
            grids=features,
        )


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
        if is_blank():
            return
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

    def forward(self, query: Tensor, features: Tensor, sampling: Sampling) -> Tensor:
        """Sample the features around the centre of each query.

        Parameters
        ----------
        query : Tensor
            (B, Q, C).
        features : Tensor
            (B, N, C), the tokens of all maps, one map after the other.
        sampling : Sampling
            From the queries' grids to the maps.

        Returns
        -------
        Tensor
            (B, Q, C).
        """
        batch, queries, _ = query.shape
        heads, levels, points = self.heads, self.levels, self.points
        wide = sampling.cells.dtype
        weights = self.attention_weights(query).reshape(batch, queries, heads, -1)
        # Queries come last and points before them: the softmax and the sum then run
        # over whole vectors of queries.
        weights = weights.to(wide).permute(0, 2, 3, 1).softmax(2)
        offsets = self.sampling_offsets(query).to(wide)
        places = torch.addcmul(
            sampling.centres.reshape(queries, 1, 1, 1, 2),
            offsets.reshape(batch, queries, heads, levels, points, 2),
            sampling.cells,
        ).permute(3, 0, 2, 4, 1, 5)
        values = self.value_proj(features).to(wide)
        sizes = [height * width for height, width in sampling.grids]
        sampled = []
        for level, plane in enumerate(torch.split(values, sizes, 1)):
            plane = plane.reshape(batch, *sampling.grids[level], heads, -1)
            # (B * heads, channels per head, points, Q)
            sampled.append(
                F.grid_sample(
                    plane.permute(0, 3, 4, 1, 2).flatten(0, 1),
                    places[level].flatten(0, 1),
                    mode="bilinear",
                    padding_mode="zeros",
                    align_corners=False,
                )
            )
        taken = sampled[0] if levels == 1 else torch.cat(sampled, 2)
        taken = taken.reshape(batch, heads, -1, levels * points, queries)
        mixed = (taken * weights.unsqueeze(2)).sum(3)
        out: Tensor = self.output_proj(mixed.flatten(1, 2).transpose(1, 2))
        return out
