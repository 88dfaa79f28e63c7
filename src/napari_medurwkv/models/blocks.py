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
from napari_medurwkv.models.blank import is_blank, repeated
from napari_medurwkv.models.omni_shift import OmniShift
from napari_medurwkv.models.shift import shift_mix
from napari_medurwkv.models.spatial_mix6 import SpatialMix6

if TYPE_CHECKING:
    from napari_medurwkv.models.config import ModelConfig
    from napari_medurwkv.models.shift import Grid

__all__ = [
    "Block",
    "BlockConfig",
    "ChannelMix",
    "SpatialMix",
    "build_block",
    "initialise",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockConfig:
    """What a block needs to know.

    Attributes
    ----------
    dim : int
        Width of the tokens.
    post_norm, layer_scale, key_norm, hidden_rate, shift_gamma, shift_pixels, init_mode
        As in `ModelConfig`.
    segments : int
        As in `ModelConfig`.
    shift : {"quarter", "omni"}
        How a token sees its neighbours: the four-direction shift with its mixing
        factors, or Restore-RWKV's depth-wise convolution.
    shift_heads : int
        Groups of channels that the four-direction shift moves by themselves.
    recurrence : int
        How often the operator runs, by rows and by columns in turn.
    operator : {"bi_wkv", "wkv6"}
        The spatial mix of Vision-RWKV, or that of its sixth version.
    mix_rank, decay_rank : int
        Inner widths of the sixth version's low-rank products.
    """

    dim: int
    post_norm: bool = False
    layer_scale: float | None = None
    key_norm: bool = False
    hidden_rate: int = 4
    shift_gamma: float = 0.25
    shift_pixels: int = 1
    init_mode: str = "fancy"
    segments: int = 0
    shift: str = "quarter"
    shift_heads: int = 1
    recurrence: int = 1
    operator: str = "bi_wkv"
    mix_rank: int = 32
    decay_rank: int = 64

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
            segments=config.segments,
        )

    @property
    def mixes(self) -> bool:
        """Whether tokens are mixed with their shifted neighbours by factors."""
        return self.shift == "quarter" and self.shift_pixels > 0


@dataclass(frozen=True, slots=True)
class _Start:
    """Starting values of the vectors of one layer, by Vision-RWKV's recipes."""

    config: BlockConfig
    layer: int
    depth: int

    def _blank(self, *shape: int) -> Tensor:
        return torch.empty(*shape, self.config.dim)

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
        if is_blank():
            return self._blank()
        dim = self.config.dim
        if self.config.init_mode != "fancy":
            return torch.full((dim,), float(self.config.init_mode == "local"))
        position = torch.arange(dim, dtype=torch.float32) / max(dim - 1, 1)
        return -5 + 8 * position ** (0.7 + 1.3 * self._rising)

    def first(self) -> Tensor:
        """Return the bonus of the token itself, (C,)."""
        if is_blank():
            return self._blank()
        dim = self.config.dim
        if self.config.init_mode != "fancy":
            return torch.full((dim,), float(self.config.init_mode == "local"))
        zigzag = (torch.arange(dim, dtype=torch.float32) + 1) % 3 - 1
        return log(0.3) + 0.5 * zigzag

    def mix(self, name: str) -> Tensor:
        """Return a mixing factor, (1, 1, C); `name` is k, v, r or channel."""
        if is_blank():
            return self._blank(1, 1)
        if self.config.init_mode == "fancy":
            factor = self._ramp(self._falling * (0.5 if name == "r" else 1.0))
            if name == "v":
                factor = factor + 0.3 * self._rising
        else:
            value = 1.0 if self.config.init_mode == "local" else 0.5
            factor = torch.full((self.config.dim,), value)
        return factor.reshape(1, 1, -1)


class _Mix(nn.Module):
    """What both mixers have in common: how a token sees its neighbours."""

    def __init__(self, config: BlockConfig, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.shift = (config.shift_gamma, config.shift_pixels, config.shift_heads)
        factors = [name for name in parameters if "_mix_" in name]
        self.views = len(factors)
        self.mixed = tuple(factors) if config.mixes else ()
        for name, start in parameters.items():
            if name in self.mixed or name not in factors:
                setattr(self, name, nn.Parameter(start))
        self.omni_shift: OmniShift | None = None

    def _look(self, x: Tensor, grid: Grid) -> tuple[Tensor, ...]:
        """Return the tokens as each projection sees them."""
        if self.omni_shift is not None:
            x = self.omni_shift(x, grid)
        if not self.mixed:
            return (x,) * self.views
        factors = tuple(getattr(self, name) for name in self.mixed)
        return shift_mix(x, grid, factors, *self.shift)


class SpatialMix(_Mix):
    """Mix tokens with the bidirectional WKV operator."""

    spatial_decay: Tensor
    spatial_first: Tensor

    def __init__(self, config: BlockConfig, layer: int, depth: int) -> None:
        dim, start = config.dim, _Start(config, layer, depth)
        turns = (config.recurrence, 1) if config.recurrence > 1 else (1,)
        decays = {
            "spatial_decay": start.decay().repeat(turns),
            "spatial_first": start.first().repeat(turns),
        }
        factors = {f"spatial_mix_{name}": start.mix(name) for name in "kvr"}
        super().__init__(config, decays | factors)
        self.segments, self.recurrence = config.segments, config.recurrence
        if config.shift == "omni":
            self.omni_shift = OmniShift(dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.key_norm = nn.LayerNorm(dim) if config.key_norm else None
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Mix the tokens of ``x`` (B, H * W, C), whose grid is (H, W)."""
        x_k, x_v, x_r = self._look(x, grid)
        gate = torch.sigmoid(self.receptance(x_r))
        mixed = self._attend(self.key(x_k), self.value(x_v), grid).to(gate.dtype)
        if self.key_norm is not None:
            mixed = self.key_norm(mixed)
        out: Tensor = self.output(_product(gate, mixed))
        return out

    def _attend(self, key: Tensor, value: Tensor, grid: Grid) -> Tensor:
        """Apply the operator, which accumulates in float32 at least."""
        wide = torch.promote_types(key.dtype, torch.float32)
        decays = self.spatial_decay.to(wide).reshape(self.recurrence, -1)
        firsts = self.spatial_first.to(wide).reshape(self.recurrence, -1)
        tokens = key.shape[1]
        for turn in range(self.recurrence):
            by_columns = turn % 2 == 1
            k = _transposed(key, grid) if by_columns else key
            v = _transposed(value, grid) if by_columns else value
            w, u = decays[turn] / tokens, firsts[turn] / tokens
            value = bi_wkv(w, u, k, v, self.segments)
            if by_columns:
                value = _transposed(value, (grid[1], grid[0]))
        return value


def _product(gate: Tensor, x: Tensor) -> Tensor:
    """Multiply, into the gate's memory where no gradient is wanted."""
    if torch.is_grad_enabled() or gate.dtype != x.dtype:
        return gate * x
    return gate.mul_(x)


def _transposed(tokens: Tensor, grid: Grid) -> Tensor:
    """Order tokens (B, H * W, C) of a grid (H, W) by columns."""
    batch, count, channels = tokens.shape
    by_rows = tokens.reshape(batch, *grid, channels)
    return by_rows.transpose(1, 2).reshape(batch, count, channels)


class ChannelMix(_Mix):
    """Mix the channels of each token through a squared ReLU."""

    def __init__(self, config: BlockConfig, layer: int, depth: int) -> None:
        start = _Start(config, layer, depth)
        super().__init__(
            config, {f"spatial_mix_{name}": start.mix("channel") for name in "kr"}
        )
        dim, hidden = config.dim, config.dim * config.hidden_rate
        self.key = nn.Linear(dim, hidden, bias=False)
        if config.shift == "omni":
            self.omni_shift = OmniShift(dim)
        self.key_norm = nn.LayerNorm(hidden) if config.key_norm else None
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Mix the channels of ``x`` (B, H * W, C), whose grid is (H, W)."""
        x_k, x_r = self._look(x, grid)
        hidden = F.relu(self.key(x_k), inplace=True)
        # In place where nothing will ask for it again: fresh memory costs as much as
        # the arithmetic.
        hidden = hidden.square() if torch.is_grad_enabled() else hidden.square_()
        if self.key_norm is not None:
            hidden = self.key_norm(hidden)
        return _product(torch.sigmoid(self.receptance(x_r)), self.value(hidden))


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
        self.att = (
            SpatialMix6(config, layer, depth)
            if config.operator == "wkv6"
            else SpatialMix(config, layer, depth)
        )
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


def build_block(
    config: BlockConfig,
    layer: int,
    depth: int,
    *,
    drop_path: float = 0.0,
    input_norm: bool = False,
) -> Block:
    """Build a `Block`; those of a blank network differ in nothing but their place."""
    return repeated(
        (Block, config, drop_path, input_norm),
        lambda: Block(config, layer, depth, drop_path=drop_path, input_norm=input_norm),
    )


def initialise(module: nn.Module) -> None:
    """Start the linear and convolution layers below `module` for training.

    Linear layers follow a truncated normal of standard deviation 0.02, convolutions
    a normal scaled by their fan-out; biases are zero.
    """
    if is_blank():
        return
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
