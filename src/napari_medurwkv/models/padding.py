"""Images of any size for networks that need multiples of some number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pad_to_multiple"]


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the border of (B, C, H, W) at the right and at the bottom.

    The sides become multiples of `multiple`; an image that has them already is
    returned as it is.
    """
    height, width = image.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return image
    return F.pad(image, (0, right, 0, below), mode="replicate")
