"""Med-URWKV: a segmentation network of adapter, bottleneck, decoder and head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.models.adapter import VRWKVAdapter
from napari_medurwkv.models.blank import is_blank
from napari_medurwkv.models.blocks import BlockConfig, build_block, initialise
from napari_medurwkv.models.padding import pad_to_multiple
from napari_medurwkv.models.vrwkv import map_to_tokens

if TYPE_CHECKING:
    from napari_medurwkv.models.config import MedURWKVConfig
    from napari_medurwkv.models.shift import Grid

__all__ = ["MedURWKV"]


def _spread(cells: Tensor, grid: Grid, factor: int) -> Tensor:
    """Lay the cells (B, h * w, factor², C) out as pixels (B, h * f, w * f, C)."""
    batch, _, _, channels = cells.shape
    height, width = grid
    pixels = cells.reshape(batch, height, width, factor, factor, channels)
    return pixels.transpose(2, 3).reshape(
        batch, height * factor, width * factor, channels
    )


class PatchExpand(nn.Module):
    """Split each token into a square of `factor` x `factor` tokens."""

    def __init__(self, dim: int, out_dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(dim, factor * factor * out_dim, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, factor², C'), the square in row-major order."""
        batch, count, _ = tokens.shape
        parts = self.linear(tokens).reshape(batch, count, self.factor**2, -1)
        out: Tensor = self.norm(parts)
        return out


class Bottleneck(nn.Module):
    """Blocks on the coarsest map."""

    def __init__(self, config: MedURWKVConfig) -> None:
        super().__init__()
        dim = config.bottleneck_dim
        self.project = None
        if dim != config.embed_dim:
            self.project = nn.Sequential(
                nn.LayerNorm(config.embed_dim), nn.Linear(config.embed_dim, dim)
            )
        self.blocks = nn.ModuleList(
            build_block(BlockConfig.of(config, dim), index, config.bottleneck_depth)
            for index in range(config.bottleneck_depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Map (B, H * W, C) to (B, H * W, C')."""
        if self.project is not None:
            tokens = self.project(tokens)
        for block in self.blocks:
            tokens = block(tokens, grid)
        out: Tensor = self.norm(tokens)
        return out


class DecoderStage(nn.Module):
    """Double the resolution, take in the encoder's map, run some blocks."""

    def __init__(self, config: BlockConfig, in_dim: int, skip: int, depth: int) -> None:
        super().__init__()
        dim = config.dim
        self.expand = PatchExpand(in_dim, dim, 2)
        self.fuse = nn.Linear(dim + skip, dim)
        self.blocks = nn.ModuleList(build_block(config, i, depth) for i in range(depth))

    def forward(self, tokens: Tensor, grid: Grid, skip: Tensor) -> tuple[Tensor, Grid]:
        """Map (B, h * w, C) and a skip map (B, S, 2h, 2w) to (B, 4 h * w, C')."""
        expanded = _spread(self.expand(tokens), grid, 2).flatten(1, 2)
        encoded, grid = map_to_tokens(skip)
        tokens = self.fuse(torch.cat((expanded, encoded), -1))
        for block in self.blocks:
            tokens = block(tokens, grid)
        return tokens, grid


class Decoder(nn.Module):
    """Three stages, to 1/16, 1/8 and 1/4, and the expansion to full resolution."""

    def __init__(self, config: MedURWKVConfig) -> None:
        super().__init__()
        dims, depths = config.decoder_dims, config.decoder_depths

        def stage(index: int, in_dim: int) -> DecoderStage:
            block = BlockConfig.of(config, dims[index])
            return DecoderStage(block, in_dim, config.embed_dim, depths[index])

        self.stage3 = stage(0, config.bottleneck_dim)
        self.stage2 = stage(1, dims[0])
        self.stage1 = stage(2, dims[1])
        self.final = PatchExpand(dims[2], config.final_dim, 4)

    def forward(
        self, tokens: Tensor, grid: Grid, skips: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Grid]:
        """Return features (B, h * w, 16, F) of full resolution and (h, w).

        They stay grouped by their token at 1/4 of the resolution: the head is cheaper
        to rearrange after it than its features before it.
        """
        first, second, third = skips
        tokens, grid = self.stage3(tokens, grid, third)
        tokens, grid = self.stage2(tokens, grid, second)
        tokens, grid = self.stage1(tokens, grid, first)
        return self.final(tokens), grid


class MedURWKV(nn.Module):
    """The segmentation network.

    Parameters
    ----------
    config : MedURWKVConfig
        Sizes and variants.

    Notes
    -----
    ``forward`` maps an image (B, channels, H, W) of any height and width to logits
    (B, classes, H, W). Sizes that are no multiples of 32 are padded at the right and
    at the bottom by repeating the border, and the logits are cropped.
    """

    def __init__(self, config: MedURWKVConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VRWKVAdapter(config)
        self.bottleneck = Bottleneck(config)
        self.decoder = Decoder(config)
        self.head = nn.Conv2d(config.final_dim, config.num_classes, 1)
        for part in (self.bottleneck, self.decoder, self.head):
            initialise(part)
        if not is_blank():
            nn.init.trunc_normal_(self.head.weight, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of an image; see the notes of the class."""
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.encoder.multiple)
        first, second, third, fourth = self.encoder(image)
        tokens, grid = map_to_tokens(fourth)
        tokens = self.bottleneck(tokens, grid)
        cells, grid = self.decoder(tokens, grid, (first, second, third))
        scores = F.linear(cells, self.head.weight.flatten(1), self.head.bias)
        logits = _spread(scores, grid, 4).permute(0, 3, 1, 2)
        return logits[..., :height, :width].contiguous()
