"""The Vision-RWKV block: spatial mix and channel mix, each on a residual."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import torch
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.kernels import bi_wkv
from napari_medurwkv.models.shift import shift_mix

if TYPE_CHECKING:
    from napari_medurwkv.models.config import ModelConfig
    from napari_medurwkv.models.shift import Grid

__all__ = [
    "Block",
    "BlockConfig",
    "ChannelMix",
    "SpatialMix",
    "initialise",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockConfig:
    """What a block needs to know; the meanings are those of `ModelConfig`."""

    dim: int
    post_norm: bool = False
    layer_scale: float | None = None
    key_norm: bool = False
    hidden_rate: int = 4
    shift_gamma: float = 0.25
    shift_pixels: int = 1
    init_mode: str = "fancy"

    @classmethod
    def of(cls, config: ModelConfig, dim: int | None = None) -> BlockConfig:
        """Take a network's values, for blocks of its own or another width."""
        return cls(
            dim=config.embed_dim if dim is None else dim,
            post_norm=config.post_norm,
            layer_scale=config.layer_scale,
            key_norm=config.key_norm,
            hidden_rate=config.hidden_rate,
            shift_gamma=config.shift_gamma,
            shift_pixels=config.shift_pixels,
            init_mode=config.init_mode,
        )


@dataclass(frozen=True, slots=True)
class _Start:
    """Starting values of the vectors of one layer, by Vision-RWKV's recipes."""

    config: BlockConfig
    layer: int
    depth: int

    def _ramp(self, power: float) -> Tensor:
        channels = torch.arange(self.config.dim, dtype=torch.float32)
        return (channels / self.config.dim) ** power

    @property
    def _rising(self) -> float:
        return self.layer / max(self.depth - 1, 1)

    @property
    def _falling(self) -> float:
        return 1 - self.layer / self.depth

    def decay(self) -> Tensor:
        """Return the decay of the spatial mix, (C,)."""
        dim = self.config.dim
        if self.config.init_mode != "fancy":
            return torch.full((dim,), float(self.config.init_mode == "local"))
        position = torch.arange(dim, dtype=torch.float32) / max(dim - 1, 1)
        return -5 + 8 * position ** (0.7 + 1.3 * self._rising)

    def first(self) -> Tensor:
        """Return the bonus of the token itself, (C,)."""
        dim = self.config.dim
        if self.config.init_mode != "fancy":
            return torch.full((dim,), float(self.config.init_mode == "local"))
        zigzag = (torch.arange(dim, dtype=torch.float32) + 1) % 3 - 1
        return log(0.3) + 0.5 * zigzag

    def mix(self, name: str) -> Tensor:
        """Return a mixing factor, (1, 1, C); `name` is k, v, r or channel."""
        if self.config.init_mode == "fancy":
            factor = self._ramp(self._falling * (0.5 if name == "r" else 1.0))
            if name == "v":
                factor = factor + 0.3 * self._rising
        else:
            value = 1.0 if self.config.init_mode == "local" else 0.5
            factor = torch.full((self.config.dim,), value)
        return factor.reshape(1, 1, -1)


class SpatialMix(nn.Module):
    """Mix tokens with the bidirectional WKV operator."""

    def __init__(self, config: BlockConfig, layer: int, depth: int) -> None:
        super().__init__()
        self.gamma, self.pixels = config.shift_gamma, config.shift_pixels
        dim, start = config.dim, _Start(config, layer, depth)
        self.spatial_decay = nn.Parameter(start.decay())
        self.spatial_first = nn.Parameter(start.first())
        if config.shift_pixels:
            self.spatial_mix_k = nn.Parameter(start.mix("k"))
            self.spatial_mix_v = nn.Parameter(start.mix("v"))
            self.spatial_mix_r = nn.Parameter(start.mix("r"))
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.key_norm = nn.LayerNorm(dim) if config.key_norm else None
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Mix the tokens of ``x`` (B, H * W, C), whose grid is (H, W)."""
        x_k = x_v = x_r = x
        if self.pixels:
            factors = (self.spatial_mix_k, self.spatial_mix_v, self.spatial_mix_r)
            x_k, x_v, x_r = shift_mix(x, grid, factors, self.gamma, self.pixels)
        gate = torch.sigmoid(self.receptance(x_r))
        mixed = self._attend(self.key(x_k), self.value(x_v)).to(gate.dtype)
        if self.key_norm is not None:
            mixed = self.key_norm(mixed)
        out: Tensor = self.output(gate * mixed)
        return out

    def _attend(self, key: Tensor, value: Tensor) -> Tensor:
        """Apply the operator, in float32 at least whatever autocast does."""
        wide = torch.promote_types(key.dtype, torch.float32)
        tokens = key.shape[1]
        mixed: Tensor = bi_wkv(
            self.spatial_decay.to(wide) / tokens,
            self.spatial_first.to(wide) / tokens,
            key.to(wide),
            value.to(wide),
        )
        return mixed


class ChannelMix(nn.Module):
    """Mix the channels of each token through a squared ReLU."""

    def __init__(self, config: BlockConfig, layer: int, depth: int) -> None:
        super().__init__()
        self.gamma, self.pixels = config.shift_gamma, config.shift_pixels
        dim, hidden = config.dim, config.dim * config.hidden_rate
        start = _Start(config, layer, depth)
        if config.shift_pixels:
            self.spatial_mix_k = nn.Parameter(start.mix("channel"))
            self.spatial_mix_r = nn.Parameter(start.mix("channel"))
        self.key = nn.Linear(dim, hidden, bias=False)
        self.key_norm = nn.LayerNorm(hidden) if config.key_norm else None
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Mix the channels of ``x`` (B, H * W, C), whose grid is (H, W)."""
        x_k = x_r = x
        if self.pixels:
            factors = (self.spatial_mix_k, self.spatial_mix_r)
            x_k, x_r = shift_mix(x, grid, factors, self.gamma, self.pixels)
        hidden = F.relu(self.key(x_k), inplace=True).square()
        if self.key_norm is not None:
            hidden = self.key_norm(hidden)
        out: Tensor = torch.sigmoid(self.receptance(x_r)) * self.value(hidden)
        return out


class Block(nn.Module):
    """Spatial mix and channel mix, each on a residual.

    Parameters
    ----------
    config : BlockConfig
        Width and variants.
    layer, depth : int
        Index of this block and number of blocks in its stage; they set the starting
        values.
    drop_path : float
        Probability that a residual is dropped for a sample, in training.
    input_norm : bool
        Normalise the input first; the first block of an encoder does.
    """

    def __init__(
        self,
        config: BlockConfig,
        layer: int,
        depth: int,
        *,
        drop_path: float = 0.0,
        input_norm: bool = False,
    ) -> None:
        super().__init__()
        dim, scale = config.dim, config.layer_scale
        self.post_norm = config.post_norm
        self.gamma1 = self.gamma2 = None
        if scale is not None:
            self.gamma1 = nn.Parameter(torch.full((dim,), float(scale)))
            self.gamma2 = nn.Parameter(torch.full((dim,), float(scale)))
        self.ln1 = nn.LayerNorm(dim)
        self.ln2 = nn.LayerNorm(dim)
        self.ln0 = nn.LayerNorm(dim) if input_norm else None
        self.att = SpatialMix(config, layer, depth)
        self.ffn = ChannelMix(config, layer, depth)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Map tokens (B, H * W, C) to tokens of the same shape; grid is (H, W)."""
        if self.ln0 is not None:
            x = self.ln0(x)
        for mixer, norm, scale in (
            (self.att, self.ln1, self.gamma1),
            (self.ffn, self.ln2, self.gamma2),
        ):
            if self.post_norm:
                change = norm(mixer(x, grid))
            else:
                change = mixer(norm(x), grid)
            change = self.drop_path(change)
            x = x + change if scale is None else torch.addcmul(x, change, scale)
        return x


def initialise(module: nn.Module) -> None:
    """Start the linear and convolution layers below `module` for training.

    Linear layers follow a truncated normal of standard deviation 0.02, convolutions
    a normal scaled by their fan-out; biases are zero.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            trunc_normal_(layer.weight, std=0.02)
        elif isinstance(layer, nn.Conv2d):
            fan_out = layer.weight[0, 0].numel() * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=(2.0 / fan_out) ** 0.5)
        elif isinstance(layer, nn.ConvTranspose2d):
            trunc_normal_(layer.weight, std=0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
