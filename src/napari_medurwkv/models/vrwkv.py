"""Vision-RWKV: a plain encoder whose maps all have the patches' stride."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import trunc_normal_
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.models.blank import is_blank
from napari_medurwkv.models.blocks import BlockConfig, build_block, initialise
from napari_medurwkv.models.spatial_mix6 import HEAD_DIM

if TYPE_CHECKING:
    from napari_medurwkv.models.config import ModelConfig, VRWKVConfig
    from napari_medurwkv.models.config_published import VRWKV6Config
    from napari_medurwkv.models.shift import Grid

__all__ = [
    "VRWKV",
    "VRWKV6",
    "PatchEmbed",
    "map_to_tokens",
    "resize_pos_embed",
    "tokens_to_map",
]


def tokens_to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """View tokens (B, H * W, C) as a channels-last map (B, C, H, W)."""
    batch, _, channels = tokens.shape
    return tokens.reshape(batch, *grid, channels).permute(0, 3, 1, 2)


def map_to_tokens(features: Tensor) -> tuple[Tensor, Grid]:
    """Flatten a map (B, C, H, W) to tokens (B, H * W, C) and (H, W)."""
    grid = (features.shape[2], features.shape[3])
    return features.flatten(2).transpose(1, 2), grid


def resize_pos_embed(embedding: Tensor, source: Grid, target: Grid) -> Tensor:
    """Resize a position embedding (1, h * w, C) bicubically to another grid."""
    if source == target:
        return embedding
    grid = tokens_to_map(embedding, source)
    resized = F.interpolate(grid, size=target, mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2)


class PatchEmbed(nn.Module):
    """Cut an image into patches and project each to a token."""

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        """Map an image (B, channels, H, W) to tokens (B, h * w, C) and (h, w).

        Zeros are added at the right and at the bottom until the patches fit.
        """
        height, width = image.shape[-2:]
        below, right = -height % self.patch_size, -width % self.patch_size
        if below or right:
            image = F.pad(image, (0, right, 0, below))
        return map_to_tokens(self.projection(image))


class Trunk(nn.Module):
    """Patches, position embedding and blocks: what every encoder here has."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        side = ceil(config.img_size / config.patch_size)
        self.pos_grid: Grid = (side, side)
        self.pos_embed = nn.Parameter(torch.zeros(1, side * side, config.embed_dim))
        self.patch_embed = PatchEmbed(
            config.in_channels, config.embed_dim, config.patch_size
        )
        self.layers = nn.ModuleList(
            build_block(
                self.block_config(config),
                layer,
                config.depth,
                drop_path=config.drop_path * layer / max(config.depth - 1, 1),
                input_norm=layer == 0,
            )
            for layer in range(config.depth)
        )
        if not is_blank():
            trunc_normal_(self.pos_embed, std=0.02)

    @staticmethod
    def block_config(config: Any) -> BlockConfig:
        """Say which blocks a configuration asks for."""
        return BlockConfig.of(config)

    def embed(self, image: Tensor) -> tuple[Tensor, Grid]:
        """Return the placed tokens (B, h * w, C) of an image and their grid."""
        tokens, grid = self.patch_embed(image)
        return tokens + resize_pos_embed(self.pos_embed, self.pos_grid, grid), grid


class VRWKV(Trunk):
    """The plain Vision-RWKV encoder.

    Parameters
    ----------
    config : VRWKVConfig
        Sizes and variants.

    Notes
    -----
    ``forward`` maps an image (B, channels, H, W) of any height and width to one map
    (B, C, ceil(H / patch), ceil(W / patch)) per entry of ``config.out_indices``, and
    ``feature_info`` describes these maps in timm's way.
    """

    def __init__(self, config: VRWKVConfig) -> None:
        super().__init__(config)
        self.config = config
        self.feature_info = FeatureInfo(
            [
                {
                    "num_chs": config.embed_dim,
                    "reduction": config.patch_size,
                    "module": f"layers.{index}",
                }
                for index in range(config.depth)
            ],
            config.out_indices,
        )
        if config.final_norm:
            self.ln1 = nn.LayerNorm(config.embed_dim)
        initialise(self)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode an image; see the notes of the class."""
        depth = len(self.layers)
        wanted = [index % depth for index in self.config.out_indices]
        tokens, grid = self.embed(image)
        maps: dict[int, Tensor] = {}
        for index, block in enumerate(self.layers):
            tokens = block(tokens, grid)
            if index == depth - 1 and self.config.final_norm:
                tokens = self.ln1(tokens)
            if index in wanted:
                maps[index] = tokens_to_map(tokens, grid)
        return tuple(maps[index] for index in wanted)


class VRWKV6(VRWKV):
    """The plain VRWKV6 encoder: a `VRWKV` whose spatial mix depends on the data.

    Parameters
    ----------
    config : VRWKV6Config
        Sizes and variants.
    """

    @staticmethod
    def block_config(config: VRWKV6Config) -> BlockConfig:
        """Ask for the sixth version's spatial mix, and a shift inside each head."""
        return replace(
            BlockConfig.of(config),
            operator="wkv6",
            shift_heads=config.embed_dim // HEAD_DIM,
            mix_rank=config.mix_rank,
            decay_rank=config.decay_rank,
        )
