"""The spatial mix of VRWKV6: decay and mixing factors depend on the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.kernels import wkv6
from napari_medurwkv.models.shift import q_shift

if TYPE_CHECKING:
    from napari_medurwkv.models.blocks import BlockConfig
    from napari_medurwkv.models.shift import Grid

__all__ = ["HEAD_DIM", "SpatialMix6"]

HEAD_DIM = 64
_VIEWS = "wkvrg"


class SpatialMix6(nn.Module):
    """Mix tokens with the WKV6 operator, forwards and backwards.

    Notes
    -----
    The exponents of the published starting values of the mixing factors are not known;
    those of Vision-RWKV's plain mix stand in for them. They matter only where a
    network is trained from scratch.
    """

    def __init__(self, config: BlockConfig, layer: int, depth: int) -> None:
        super().__init__()
        dim = config.dim
        self.heads = dim // HEAD_DIM
        self.shift = (config.shift_gamma, config.shift_pixels, config.shift_heads)
        rising, falling = layer / max(depth - 1, 1), 1 - layer / depth
        channel = torch.arange(dim, dtype=torch.float32)
        relative = channel / max(dim - 1, 1)
        start = (1 - (channel / dim) ** falling).reshape(1, 1, -1)
        self.time_maa_x = nn.Parameter(start.clone())
        for name in _VIEWS:
            setattr(self, f"time_maa_{name}", nn.Parameter(start.clone()))
        mix_rank, decay_rank = config.mix_rank, config.decay_rank
        self.time_maa_w1 = nn.Parameter(_small(dim, len(_VIEWS) * mix_rank))
        self.time_maa_w2 = nn.Parameter(_small(len(_VIEWS), mix_rank, dim))
        decay = -6 + 5 * relative ** (0.7 + 1.3 * rising)
        self.time_decay = nn.Parameter(decay.reshape(1, 1, -1))
        self.time_decay_w1 = nn.Parameter(_small(dim, decay_rank))
        self.time_decay_w2 = nn.Parameter(_small(decay_rank, dim))
        bonus = rising * (1 - relative) + 0.1 * ((channel + 1) % 3 - 1)
        self.time_faaaa = nn.Parameter(bonus.reshape(self.heads, HEAD_DIM))
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.gate = nn.Linear(dim, dim, bias=False)
        self.key_norm = nn.LayerNorm(dim) if config.key_norm else None
        self.output = nn.Linear(dim, dim, bias=False)
        self.ln_x = nn.GroupNorm(self.heads, dim, eps=1e-5)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Mix the tokens of ``x`` (B, H * W, C), whose grid is (H, W)."""
        batch, tokens, dim = x.shape
        change = q_shift(x, grid, *self.shift) - x
        mixed = torch.tanh(torch.addcmul(x, change, self.time_maa_x) @ self.time_maa_w1)
        mixed = mixed.reshape(batch * tokens, len(_VIEWS), -1).transpose(0, 1)
        moves = torch.bmm(mixed, self.time_maa_w2).reshape(-1, batch, tokens, dim)
        x_w, x_k, x_v, x_r, x_g = (
            torch.addcmul(x, change, getattr(self, f"time_maa_{name}") + move)
            for name, move in zip(_VIEWS, moves, strict=True)
        )
        decay = self.time_decay + torch.tanh(x_w @ self.time_decay_w1) @ (
            self.time_decay_w2
        )
        # The operator works in float32 at least, whatever autocast does.
        wide = torch.promote_types(x.dtype, torch.float32)
        y = wkv6(
            self.receptance(x_r).to(wide),
            self.key(x_k).to(wide),
            self.value(x_v).to(wide),
            decay.to(wide),
            self.time_faaaa.to(wide),
        ).to(x.dtype)
        if self.key_norm is not None:
            y = self.key_norm(y)
        normed = self.ln_x(y.reshape(batch * tokens, dim)).reshape(x.shape)
        out: Tensor = self.output(normed * F.silu(self.gate(x_g)))
        return out


def _small(*shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-1e-4, 1e-4)
