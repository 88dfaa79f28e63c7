"""Vision-RWKV inside an adapter: one encoder, maps at four scales."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, lcm
from typing import TYPE_CHECKING

import torch
from timm.layers import DropPath
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.models.blank import repeated
from napari_medurwkv.models.blocks import initialise
from napari_medurwkv.models.deformable import DeformableAttention, Sampling
from napari_medurwkv.models.vrwkv import Trunk, tokens_to_map

if TYPE_CHECKING:
    from napari_medurwkv.models.config import AdapterConfig
    from napari_medurwkv.models.shift import Grid

__all__ = ["STRIDES", "VRWKVAdapter"]

STRIDES = (4, 8, 16, 32)
NORM_EPS = 1e-6


def _convolution(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


class SpatialPrior(nn.Module):
    """A small convolutional pyramid beside the trunk."""

    def __init__(self, in_channels: int, width: int, dim: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_convolution(in_channels, width, 2),
            *_convolution(width, width, 1),
            *_convolution(width, width, 1),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*_convolution(width, 2 * width, 2))
        self.conv3 = nn.Sequential(*_convolution(2 * width, 4 * width, 2))
        self.conv4 = nn.Sequential(*_convolution(4 * width, 4 * width, 2))
        self.fc1 = nn.Conv2d(width, dim, 1)
        self.fc2 = nn.Conv2d(2 * width, dim, 1)
        self.fc3 = nn.Conv2d(4 * width, dim, 1)
        self.fc4 = nn.Conv2d(4 * width, dim, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return maps (B, C, ...) at 1/4, 1/8, 1/16 and 1/32 of the image."""
        first = self.stem(image.contiguous(memory_format=torch.channels_last))
        second = self.conv2(first)
        third = self.conv3(second)
        fourth = self.conv4(third)
        return self.fc1(first), self.fc2(second), self.fc3(third), self.fc4(fourth)


class DepthwiseConv(nn.Module):
    """A 3x3 convolution of each channel, on each level of the pyramid by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Tensor, grids: tuple[Grid, ...]) -> Tensor:
        """Convolve (B, N, C), the tokens of maps of the sizes `grids`."""
        sizes = [height * width for height, width in grids]
        levels = torch.split(tokens, sizes, 1)
        return torch.cat(
            [
                self.dwconv(tokens_to_map(level, grid)).flatten(2).transpose(1, 2)
                for level, grid in zip(levels, grids, strict=True)
            ],
            1,
        )


class ConvFFN(nn.Module):
    """Two linear layers with a convolution between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor, grids: tuple[Grid, ...]) -> Tensor:
        """Map (B, N, C) to (B, N, C)."""
        out: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(tokens), grids)))
        return out


def _attention(config: AdapterConfig, levels: int) -> DeformableAttention:
    return DeformableAttention(
        config.embed_dim,
        levels=levels,
        heads=config.deform_num_heads,
        points=config.n_points,
        ratio=config.deform_ratio,
    )


class Injector(nn.Module):
    """Bring the pyramid's detail into the trunk."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        # Zero at first: the trunk computes what it computed without an adapter.
        self.gamma = nn.Parameter(torch.zeros(config.embed_dim))
        self.query_norm = nn.LayerNorm(config.embed_dim, eps=NORM_EPS)
        self.feat_norm = nn.LayerNorm(config.embed_dim, eps=NORM_EPS)
        self.attn = _attention(config, levels=3)

    def forward(self, x: Tensor, pyramid: Tensor, sampling: Sampling) -> Tensor:
        """Return the trunk's tokens, (B, h * w, C), with the pyramid's added."""
        change = self.attn(self.query_norm(x), self.feat_norm(pyramid), sampling)
        return torch.addcmul(x, change, self.gamma)


class Extractor(nn.Module):
    """Bring the trunk's context into the pyramid."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.query_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.feat_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = _attention(config, levels=1)
        self.ffn = ConvFFN(dim, int(dim * config.cffn_ratio))
        self.ffn_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.drop_path = (
            DropPath(config.drop_path) if config.drop_path else nn.Identity()
        )

    def forward(
        self, pyramid: Tensor, x: Tensor, sampling: Sampling, grids: tuple[Grid, ...]
    ) -> Tensor:
        """Return the pyramid's tokens, (B, N, C), with the trunk's added."""
        change = self.attn(self.query_norm(pyramid), self.feat_norm(x), sampling)
        pyramid = pyramid + change
        change = self.ffn(self.ffn_norm(pyramid), grids)
        out: Tensor = pyramid + self.drop_path(change)
        return out


def _extractor(config: AdapterConfig) -> Extractor:
    return repeated((Extractor, config), lambda: Extractor(config))


class Interaction(nn.Module):
    """One exchange; some of the trunk's blocks run between its two halves."""

    def __init__(self, config: AdapterConfig, extra_extractors: int) -> None:
        super().__init__()
        self.injector = repeated((Injector, config), lambda: Injector(config))
        self.extractor = _extractor(config)
        self.extra_extractors = None
        if extra_extractors:
            self.extra_extractors = nn.ModuleList(
                _extractor(config) for _ in range(extra_extractors)
            )

    def forward(
        self,
        x: Tensor,
        pyramid: Tensor,
        blocks: list[nn.Module],
        inward: Sampling,
        outward: Sampling,
    ) -> tuple[Tensor, Tensor]:
        """Return the new tokens of trunk, (B, h * w, C), and pyramid, (B, N, C)."""
        x = self.injector(x, pyramid, inward)
        for block in blocks:
            x = block(x, outward.grids[0])
        pyramid = self.extractor(pyramid, x, outward, inward.grids)
        for extractor in self.extra_extractors or ():
            pyramid = extractor(pyramid, x, outward, inward.grids)
        return x, pyramid


class VRWKVAdapter(Trunk):
    """Vision-RWKV with a spatial prior, and maps at strides 4, 8, 16 and 32.

    Parameters
    ----------
    config : AdapterConfig
        Sizes and variants.

    Notes
    -----
    ``forward`` maps an image (B, channels, H, W) to four maps
    (B, C, ceil(H / s), ceil(W / s)). Sizes that are no multiples of 32 (and of the
    patch) are padded with zeros at the right and at the bottom.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        self.config = config
        dim, count = config.embed_dim, config.interactions
        self.feature_info = FeatureInfo(
            [
                {"num_chs": dim, "reduction": stride, "module": f"norm{level}"}
                for level, stride in enumerate(STRIDES, 1)
            ],
            tuple(range(len(STRIDES))),
        )
        self.multiple = lcm(STRIDES[-1], config.patch_size)
        edges = [config.depth * index // count for index in range(count + 1)]
        self.ranges = tuple(pairwise(edges))
        self.level_embed = nn.Parameter(torch.zeros(3, dim))
        self.spm = SpatialPrior(config.in_channels, config.conv_inplane, dim)
        self.interactions = nn.ModuleList(
            Interaction(config, config.extra_extractors if index == count - 1 else 0)
            for index in range(count)
        )
        self.up = nn.ConvTranspose2d(dim, dim, 2, stride=2)
        self.norm1 = nn.BatchNorm2d(dim)
        self.norm2 = nn.BatchNorm2d(dim)
        self.norm3 = nn.BatchNorm2d(dim)
        self.norm4 = nn.BatchNorm2d(dim)
        initialise(self)
        nn.init.normal_(self.level_embed)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode an image; see the notes of the class."""
        height, width = image.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        if below or right:
            image = F.pad(image, (0, right, 0, below))
        maps = self._encode(image)
        if below or right:
            first, second, third, fourth = (
                level[..., : ceil(height / stride), : ceil(width / stride)]
                for level, stride in zip(maps, STRIDES, strict=True)
            )
            return first, second, third, fourth
        return maps

    def _encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        height, width = image.shape[-2:]
        grids = tuple((height // s, width // s) for s in STRIDES[1:])
        first, *coarser = self.spm(image)
        pyramid = torch.cat(
            [
                level.flatten(2).transpose(1, 2) + self.level_embed[index]
                for index, level in enumerate(coarser)
            ],
            1,
        )
        x, grid = self.embed(image)
        inward = Sampling.between((grid,), grids, image)
        outward = Sampling.between(grids, (grid,), image)
        blocks = list(self.layers)
        context = []
        for interaction, (start, stop) in zip(
            self.interactions, self.ranges, strict=True
        ):
            x, pyramid = interaction(x, pyramid, blocks[start:stop], inward, outward)
            context.append(tokens_to_map(x, grid))
        sizes = [rows * columns for rows, columns in grids]
        second, third, fourth = (
            tokens_to_map(level, size)
            for level, size in zip(torch.split(pyramid, sizes, 1), grids, strict=True)
        )
        levels = [self.up(second) + first, second, third, fourth]
        # With other numbers of interactions the last ones go to the coarsest maps.
        for back, trunk_map in enumerate(reversed(context[-4:]), 1):
            levels[-back] = levels[-back] + self._resized(trunk_map, levels[-back])
        return (
            self.norm1(levels[0]),
            self.norm2(levels[1]),
            self.norm3(levels[2]),
            self.norm4(levels[3]),
        )

    @staticmethod
    def _resized(source: Tensor, target: Tensor) -> Tensor:
        if source.shape[-2:] == target.shape[-2:]:
            return source
        return F.interpolate(
            source, size=target.shape[-2:], mode="bilinear", align_corners=False
        )
