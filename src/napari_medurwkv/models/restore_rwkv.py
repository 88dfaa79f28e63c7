"""Restore-RWKV: an image in, a cleaner image of the same size out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_medurwkv.models.blocks import BlockConfig, build_block, initialise
from napari_medurwkv.models.padding import pad_to_multiple
from napari_medurwkv.models.vrwkv import map_to_tokens, tokens_to_map

if TYPE_CHECKING:
    from napari_medurwkv.models.config_published import RestoreRWKVConfig

__all__ = ["RestoreRWKV"]


class Resample(nn.Module):
    """A convolution and a rearrangement of pixels, to half or to double the size."""

    def __init__(self, dim: int, *, up: bool) -> None:
        super().__init__()
        inner = 2 * dim if up else dim // 2
        self.body = nn.Sequential(
            nn.Conv2d(dim, inner, 3, padding=1, bias=False),
            nn.PixelShuffle(2) if up else nn.PixelUnshuffle(2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 2 C, H / 2, W / 2) or (B, C / 2, 2 H, 2 W)."""
        out: Tensor = self.body(x)
        return out


class RestoreRWKV(nn.Module):
    """The restoration network.

    Parameters
    ----------
    config : RestoreRWKVConfig
        Sizes and variants.

    Notes
    -----
    ``forward`` maps an image (B, channels, H, W) of any height and width to an image
    of the same shape: itself plus what the network computes. Sizes that are no
    multiples of 8 are padded at the right and at the bottom by repeating the border,
    and the result is cropped. Intensities are meant to lie between 0 and 1.
    """

    multiple = 8

    def __init__(self, config: RestoreRWKVConfig) -> None:
        super().__init__()
        self.config = config
        dim, (one, two, three, four) = config.dim, config.depths
        self.patch_embed = nn.Conv2d(config.in_channels, dim, 3, padding=1)
        self.encoder_level1 = self._level(dim, one)
        self.down1_2 = Resample(dim, up=False)
        self.encoder_level2 = self._level(2 * dim, two)
        self.down2_3 = Resample(2 * dim, up=False)
        self.encoder_level3 = self._level(4 * dim, three)
        self.down3_4 = Resample(4 * dim, up=False)
        self.latent = self._level(8 * dim, four)
        self.up4_3 = Resample(8 * dim, up=True)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1)
        self.decoder_level3 = self._level(4 * dim, three)
        self.up3_2 = Resample(4 * dim, up=True)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1)
        self.decoder_level2 = self._level(2 * dim, two)
        self.up2_1 = Resample(2 * dim, up=True)
        self.decoder_level1 = self._level(2 * dim, one)
        self.refinement = self._level(2 * dim, config.refinement)
        self.output = nn.Conv2d(2 * dim, config.in_channels, 3, padding=1)
        initialise(self)

    def _level(self, dim: int, depth: int) -> nn.ModuleList:
        block = BlockConfig(
            dim=dim,
            layer_scale=1.0,
            hidden_rate=self.config.hidden_rate,
            shift="omni",
            recurrence=self.config.recurrence,
            segments=self.config.segments,
        )
        return nn.ModuleList(build_block(block, layer, depth) for layer in range(depth))

    def forward(self, image: Tensor) -> Tensor:
        """Return the restored image; see the notes of the class."""
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, self.multiple)
        first = _run(self.encoder_level1, self.patch_embed(padded))
        second = _run(self.encoder_level2, self.down1_2(first))
        third = _run(self.encoder_level3, self.down2_3(second))
        x = _run(self.latent, self.down3_4(third))
        x = self.reduce_chan_level3(torch.cat((self.up4_3(x), third), 1))
        x = _run(self.decoder_level3, x)
        x = self.reduce_chan_level2(torch.cat((self.up3_2(x), second), 1))
        x = _run(self.decoder_level2, x)
        x = torch.cat((self.up2_1(x), first), 1)
        x = _run(self.refinement, _run(self.decoder_level1, x))
        restored: Tensor = self.output(x) + padded
        return restored[..., :height, :width].contiguous()


def _run(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Run blocks whose tokens are the pixels of a map (B, C, H, W)."""
    tokens, grid = map_to_tokens(x)
    for block in blocks:
        tokens = block(tokens, grid)
    return tokens_to_map(tokens, grid)
