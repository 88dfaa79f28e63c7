"""RWKV-UNet: convolutional blocks, some with a spatial mix, and a U-shaped decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.models.blocks import (
    BlockConfig,
    ChannelMix,
    SpatialMix,
    initialise,
)
from napari_medurwkv.models.padding import pad_to_multiple
from napari_medurwkv.models.vrwkv import map_to_tokens, tokens_to_map

if TYPE_CHECKING:
    from napari_medurwkv.models.config_published import RWKVUNetConfig
    from napari_medurwkv.models.shift import Grid

__all__ = ["RWKVUNet", "RWKVUNetEncoder"]

EPS = 1e-6
_LABELS = 1000


class ConvNorm(nn.Module):
    """Convolution, then batch normalisation and an activation where they are."""

    def __init__(
        self,
        in_dim: int,
        dim: int,
        size: int = 1,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        padding = -((stride - size) // 2)
        groups = in_dim if depthwise else 1
        self.conv = nn.Conv2d(
            in_dim, dim, size, stride, padding, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(dim, eps=EPS) if activation else None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        x = self.conv(x)
        if self.norm is not None and self.activation is not None:
            x = self.activation(self.norm(x))
        return x


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class SqueezeExcite(nn.Module):
    """Gate the channels by what their means say."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(dim, dim, 1)
        self.conv_expand = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Gate (B, C, H, W)."""
        gate = self.conv_reduce(x.mean((2, 3), keepdim=True))
        return x * torch.sigmoid(self.conv_expand(F.silu(gate)))


class GLSP(nn.Module):
    """One block: expand, mix all pixels where it attends, mix neighbours, project.

    Parameters
    ----------
    config : RWKVUNetConfig
        Of the network.
    in_dim, dim, middle : int
        Width of input, output and inside.
    norm : torch.nn.Module or None
        Of the input.
    stride : int
    residual, attends, gated : bool
        Whether the two residuals, the spatial mix and the gate are there.
    """

    def __init__(
        self,
        config: RWKVUNetConfig,
        in_dim: int,
        dim: int,
        middle: int,
        *,
        norm: nn.Module | None,
        stride: int = 1,
        residual: bool = False,
        attends: bool = False,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.residual, self.attends = residual, attends
        self.norm = norm
        # Files store these norms, and since October 2025 the mix, in every block.
        self.ln1 = nn.LayerNorm(middle)
        self.ln2 = nn.LayerNorm(middle) if config.full_layout else None
        self.conv = ConvNorm(in_dim, middle, activation=nn.ReLU(inplace=True))
        self.att = None
        if attends or config.full_layout:
            mix = _mix_config(config, middle)
            self.att = SpatialMix(mix, 0, 1)
        self.se = SqueezeExcite(middle) if gated else None
        self.proj = ConvNorm(middle, dim)
        self.conv_local = ConvNorm(
            middle,
            middle,
            5,
            stride=stride,
            depthwise=True,
            activation=nn.SiLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        start = x
        if self.norm is not None:
            x = self.norm(x)
        x = self.conv(x)
        if self.attends and self.att is not None:
            tokens, grid = map_to_tokens(x)
            tokens = tokens + self.ln1(self.att(tokens, grid))
            x = tokens_to_map(tokens, grid)
        local = self.conv_local(x)
        if self.se is not None:
            local = self.se(local)
        x = self.proj(x + local if self.residual else local)
        return start + x if self.residual else x


def _mix_config(config: RWKVUNetConfig, dim: int, rate: int = 4) -> BlockConfig:
    return BlockConfig(
        dim=dim,
        key_norm=True,
        hidden_rate=rate,
        init_mode="global",
        segments=config.segments,
    )


class RWKVUNetEncoder(nn.Module):
    """The encoder: maps at 1, 1/2, 1/4, 1/8 and 1/16 of the resolution.

    Parameters
    ----------
    config : RWKVUNetConfig
        Of the network.

    Notes
    -----
    ``norm`` and ``head`` belong to the classifier that it was trained as; `classify`
    uses them, segmentation does not.
    """

    def __init__(self, config: RWKVUNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.stem_dim
        self.stage0 = nn.ModuleList([GLSP(config, 3, width, 3, norm=None, gated=True)])
        for stage, (dim, depth, expansion) in enumerate(
            zip(config.dims, config.depths, config.expansions, strict=True), 1
        ):
            blocks = []
            for index in range(depth):
                first = index == 0
                ratio = 2 * expansion if first else expansion
                blocks.append(
                    GLSP(
                        config,
                        width,
                        dim,
                        int(width * ratio),
                        norm=nn.BatchNorm2d(width, eps=EPS)
                        if stage < 3
                        else ChannelNorm(width),
                        stride=2 if first else 1,
                        residual=not first,
                        attends=stage >= 3 and not first,
                    )
                )
                width = dim
            setattr(self, f"stage{stage}", nn.ModuleList(blocks))
        self.norm = ChannelNorm(width)
        self.head = nn.Linear(width, _LABELS)
        initialise(self)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W), or a grey (B, 1, H, W), to five maps, the finest first."""
        x = image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image
        maps = []
        for stage in range(5):
            for block in getattr(self, f"stage{stage}"):
                x = block(x)
            maps.append(x)
        return tuple(maps)

    def classify(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to logits (B, 1000)."""
        logits: Tensor = self.head(self.norm(self(image)[-1]).mean((2, 3)))
        return logits


class CrossChannelMix(nn.Module):
    """Bring three maps to one size, mix their channels, and bring them back."""

    def __init__(self, config: RWKVUNetConfig) -> None:
        super().__init__()
        dim, *_ = config.dims
        widths = config.dims[2::-1]
        self.projections = nn.ModuleList(nn.Conv2d(w, dim, 1) for w in widths)
        self.ln1 = nn.LayerNorm(3 * dim)
        self.channel = ChannelMix(_mix_config(config, 3 * dim, rate=2), 0, 1)
        self.final_projections = nn.ModuleList(nn.Conv2d(dim, w, 1) for w in widths)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Mix maps at 1/8, 1/4 and 1/2; each keeps its shape."""
        size = maps[-1].shape[2:]
        x = torch.cat(
            [
                project(_resized(level, size))
                for project, level in zip(self.projections, maps, strict=True)
            ],
            1,
        )
        tokens, grid = map_to_tokens(x)
        tokens = tokens + self.ln1(self.channel(tokens, grid))
        parts = tokens_to_map(tokens, grid).chunk(3, 1)
        return [
            _resized(project(part), level.shape[2:])
            for project, part, level in zip(
                self.final_projections, parts, maps, strict=True
            )
        ]


def _resized(x: Tensor, size: Grid | torch.Size) -> Tensor:
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class UpBlock(nn.Module):
    """Mix neighbours, then double the resolution."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(in_dim)  # stored in files, used nowhere
        self.conv = ConvNorm(in_dim, in_dim, activation=nn.ReLU(inplace=True))
        self.proj = ConvNorm(in_dim, dim, activation=nn.ReLU(inplace=True))
        self.conv_local = ConvNorm(
            in_dim, in_dim, 9, depthwise=True, activation=nn.SiLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', 2 H, 2 W)."""
        x = self.proj(self.conv_local(self.conv(x)))
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class RWKVUNet(nn.Module):
    """The segmentation network.

    Parameters
    ----------
    config : RWKVUNetConfig
        Sizes and variants.

    Notes
    -----
    ``forward`` maps an image (B, 3, H, W), or a grey one (B, 1, H, W), of any height
    and width to logits (B, classes, H, W). Sizes that are no multiples of 16 are padded
    at the right and at the bottom by repeating the border, and the logits are cropped.
    """

    multiple = 16

    def __init__(self, config: RWKVUNetConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third, fourth = config.dims
        self.encoder = RWKVUNetEncoder(config)
        self.ccm = CrossChannelMix(config)
        self.decoder1 = UpBlock(fourth, third)
        self.decoder2 = UpBlock(2 * third, second)
        self.decoder3 = UpBlock(2 * second, first)
        self.decoder4 = UpBlock(2 * first, config.stem_dim)
        self.final_conv = nn.Conv2d(config.stem_dim, config.num_classes, 1)
        for part in (self.ccm, self.decoder1, self.decoder2, self.decoder3):
            initialise(part)
        initialise(self.decoder4)
        initialise(self.final_conv)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of an image; see the notes of the class."""
        height, width = image.shape[-2:]
        _, first, second, third, fourth = self.encoder(
            pad_to_multiple(image, self.multiple)
        )
        third, second, first = self.ccm((third, second, first))
        x = torch.cat((self.decoder1(fourth), third), 1)
        x = torch.cat((self.decoder2(x), second), 1)
        x = torch.cat((self.decoder3(x), first), 1)
        logits: Tensor = self.final_conv(self.decoder4(x))
        return logits[..., :height, :width].contiguous()
