"""The shift, token by token, and the gradient of the mix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_medurwkv.models.shift import q_shift, shift_mix


def slow_shift(x: Tensor, grid: tuple[int, int], gamma: float, pixels: int) -> Tensor:
    batch, _, channels = x.shape
    height, width = grid
    image = x.reshape(batch, height, width, channels)
    out = torch.zeros_like(image)
    bounds = [int(channels * gamma * part) for part in range(5)] + [channels]
    sources = ((0, -pixels), (0, pixels), (-pixels, 0), (pixels, 0), (0, 0))
    for (dy, dx), start, stop in zip(sources, bounds, bounds[1:], strict=False):
        for row in range(height):
            for column in range(width):
                y, z = row + dy, column + dx
                if 0 <= y < height and 0 <= z < width:
                    out[:, row, column, start:stop] = image[:, y, z, start:stop]
    return out.reshape(x.shape)


@pytest.mark.parametrize("grid", [(3, 5), (1, 4), (4, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize(
    ("channels", "gamma", "pixels"), [(8, 0.25, 1), (10, 0.25, 1), (9, 0.2, 2)]
)
def test_shift(grid: tuple[int, int], channels: int, gamma: float, pixels: int) -> None:
    x = torch.randn(2, grid[0] * grid[1], channels)
    expected = slow_shift(x, grid, gamma, pixels)
    torch.testing.assert_close(
        q_shift(x, grid, gamma, pixels), expected, rtol=0, atol=0
    )


def test_content_moves_right_left_down_up() -> None:
    x = torch.zeros(1, 9, 4)
    x[0, 4] = 1  # the middle of a 3x3 grid
    shifted = q_shift(x, (3, 3))
    assert [shifted[0, :, c].argmax().item() for c in range(4)] == [5, 3, 7, 1]


def test_mix_follows_its_formula_and_gradient() -> None:
    torch.manual_seed(0)
    grid = (3, 4)
    x = torch.randn(2, 12, 9, dtype=torch.float64, requires_grad=True)
    factors = [
        torch.randn(1, 1, 9, dtype=torch.float64, requires_grad=True) for _ in range(3)
    ]
    mixed = shift_mix(x, grid, tuple(factors))
    shifted = slow_shift(x.detach(), grid, 0.25, 1)
    for out, factor in zip(mixed, factors, strict=True):
        torch.testing.assert_close(out, x * factor + shifted * (1 - factor))
    assert torch.autograd.gradcheck(
        lambda x, *factors: shift_mix(x, grid, factors), (x, *factors)
    )


def test_noncontiguous_tokens() -> None:
    x = torch.randn(2, 8, 6).transpose(1, 2)
    torch.testing.assert_close(q_shift(x, (2, 3)), q_shift(x.contiguous(), (2, 3)))
