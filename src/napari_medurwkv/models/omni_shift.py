"""Restore-RWKV's token shift: one depth-wise convolution made of four."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from napari_medurwkv.models.shift import Grid

__all__ = ["OmniShift"]


def _depthwise(dim: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(dim, dim, size, padding=size // 2, groups=dim, bias=False)


class OmniShift(nn.Module):
    """Weigh the token itself and its 1x1, 3x3 and 5x5 surroundings.

    Notes
    -----
    All four are linear, so they are one 5x5 convolution, whose kernel is computed from
    theirs at each call. Published files also store that kernel, possibly out of date:
    what is read into ``conv5x5_reparam`` is replaced by the true one.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((4,), 0.25))
        self.conv1x1 = _depthwise(dim, 1)
        self.conv3x3 = _depthwise(dim, 3)
        self.conv5x5 = _depthwise(dim, 5)
        self.conv5x5_reparam = _depthwise(dim, 5).requires_grad_(False)
        hooked: Any = self  # torch leaves the method without types
        hooked.register_load_state_dict_post_hook(_after_loading)

    def kernel(self) -> Tensor:
        """Return the kernel of the one convolution, (C, 1, 5, 5)."""
        own, one, three, five = self.alpha
        kernel: Tensor = five * self.conv5x5.weight + F.pad(
            three * self.conv3x3.weight, (1, 1, 1, 1)
        )
        centre: Tensor = one * self.conv1x1.weight + own
        combined: Tensor = kernel + F.pad(centre, (2, 2, 2, 2))
        return combined

    @torch.no_grad()
    def refresh(self) -> None:
        """Replace the stored kernel, whatever was loaded into it."""
        if not self.alpha.is_meta:
            self.conv5x5_reparam.weight.copy_(self.kernel())

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Map tokens (B, H * W, C) to tokens of the same shape; grid is (H, W)."""
        batch, count, channels = x.shape
        plane = x.reshape(batch, *grid, channels).permute(0, 3, 1, 2)
        kernel = self.kernel().to(x.dtype)
        mixed = F.conv2d(plane, kernel, padding=2, groups=channels)
        return mixed.permute(0, 2, 3, 1).reshape(batch, count, channels)


def _after_loading(module: OmniShift, incompatible: Any) -> None:
    module.refresh()
