"""UPerNet around the Vision-RWKV adapter, as trained on ADE20K."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.models.adapter import VRWKVAdapter
from napari_medurwkv.models.blocks import initialise
from napari_medurwkv.models.padding import pad_to_multiple

if TYPE_CHECKING:
    from napari_medurwkv.models.config_published import UPerNetConfig
    from napari_medurwkv.models.shift import Grid

__all__ = ["UPerNet"]

_LEVELS = 4


def _resized(source: Tensor, size: Grid | torch.Size) -> Tensor:
    return F.interpolate(source, size=size, mode="bilinear", align_corners=False)


class ConvModule(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, in_dim: int, dim: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, dim, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H, W)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class UPerHead(nn.Module):
    """Pool the coarsest map at several scales, then add and fuse downwards.

    References
    ----------
    Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018.
    """

    def __init__(self, config: UPerNetConfig) -> None:
        super().__init__()
        source, dim, finer = config.embed_dim, config.head_dim, _LEVELS - 1
        self.conv_seg = nn.Conv2d(dim, config.num_classes, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvModule(source, dim, 1))
            for scale in config.pool_scales
        )
        pooled = source + len(config.pool_scales) * dim
        self.bottleneck = ConvModule(pooled, dim, 3)
        self.lateral_convs = nn.ModuleList(
            ConvModule(source, dim, 1) for _ in range(finer)
        )
        self.fpn_convs = nn.ModuleList(ConvModule(dim, dim, 3) for _ in range(finer))
        self.fpn_bottleneck = ConvModule(_LEVELS * dim, dim, 3)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Map four maps, the finest first, to logits at the finest resolution."""
        *finer, coarsest = maps
        views = [coarsest] + [
            _resized(pool(coarsest), coarsest.shape[2:]) for pool in self.psp_modules
        ]
        levels = [
            convolution(level)
            for convolution, level in zip(self.lateral_convs, finer, strict=True)
        ]
        levels.append(self.bottleneck(torch.cat(views, 1)))
        for index in range(len(levels) - 1, 0, -1):
            below = levels[index - 1]
            levels[index - 1] = below + _resized(levels[index], below.shape[2:])
        outs = [
            convolution(level)
            for convolution, level in zip(self.fpn_convs, levels, strict=False)
        ]
        outs.append(levels[-1])
        size = outs[0].shape[2:]
        outs = [outs[0]] + [_resized(out, size) for out in outs[1:]]
        fused = self.fpn_bottleneck(torch.cat(outs, 1))
        logits: Tensor = self.conv_seg(self.dropout(fused))
        return logits


class FCNHead(nn.Module):
    """One convolution and a classifier on the third map; only training uses it."""

    def __init__(self, config: UPerNetConfig) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(config.auxiliary_dim, config.num_classes, 1)
        self.convs = nn.Sequential(
            ConvModule(config.embed_dim, config.auxiliary_dim, 3)
        )
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, classes, H, W)."""
        logits: Tensor = self.conv_seg(self.dropout(self.convs(features)))
        return logits


class UPerNet(nn.Module):
    """The segmentation network around a Vision-RWKV adapter.

    Parameters
    ----------
    config : UPerNetConfig
        Sizes and variants.

    Notes
    -----
    ``forward`` maps an image (B, channels, H, W) of any height and width to logits
    (B, classes, H, W). Sizes that are no multiples of 32 are padded at the right and
    at the bottom by repeating the border, and the logits are cropped. The images of
    the published weights are those of the `Classifier`.
    """

    def __init__(self, config: UPerNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = VRWKVAdapter(config)
        self.decode_head = UPerHead(config)
        self.auxiliary_head = FCNHead(config) if config.auxiliary_dim else None
        for head in (self.decode_head, self.auxiliary_head):
            if head is not None:
                initialise(head)
                nn.init.normal_(head.conv_seg.weight, std=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of an image; see the notes of the class."""
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, self.backbone.multiple)
        logits = self.decode_head(self.backbone(padded))
        return _resized(logits, padded.shape[2:])[..., :height, :width].contiguous()

    def auxiliary(self, image: Tensor) -> Tensor:
        """Return the auxiliary head's logits at 1/16 of the resolution."""
        if self.auxiliary_head is None:
            raise RuntimeError("This network has no auxiliary head.")
        maps = self.backbone(pad_to_multiple(image, self.backbone.multiple))
        out: Tensor = self.auxiliary_head(maps[2])
        return out
