"""Deformable attention against sampling pixel by pixel."""

from __future__ import annotations

from math import floor

import pytest
import torch

from napari_medurwkv.models.deformable import (
    DeformableAttention,
    Sampling,
    reference_points,
)

GRIDS = ((4, 6), (2, 3))
QUERIES = ((3, 2),)


def bilinear(plane: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Sample (H, W, D) at a place in cells, zero outside."""
    out = torch.zeros(plane.shape[-1], dtype=plane.dtype)
    for row in (floor(y), floor(y) + 1):
        for column in (floor(x), floor(x) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                out += share * plane[row, column]
    return out


@pytest.fixture
def attention() -> DeformableAttention:
    torch.manual_seed(0)
    return DeformableAttention(8, levels=2, heads=2, points=3, ratio=0.5).double()


def test_equals_sampling_by_hand(attention: DeformableAttention) -> None:
    query = torch.randn(2, 6, 8, dtype=torch.float64)
    features = torch.randn(2, 30, 8, dtype=torch.float64)
    produced = attention(query, features, Sampling.between(QUERIES, GRIDS, query))

    centres = reference_points(QUERIES, torch.device("cpu")).double()
    offsets = attention.sampling_offsets(query).reshape(2, 6, 2, 2, 3, 2)
    weights = attention.attention_weights(query).reshape(2, 6, 2, 6).softmax(-1)
    values = attention.value_proj(features).reshape(2, 30, 2, 2)
    mixed = torch.zeros(2, 6, 2, 2, dtype=torch.float64)
    for batch in range(2):
        for q in range(6):
            for head in range(2):
                start = 0
                for level, (height, width) in enumerate(GRIDS):
                    stop = start + height * width
                    plane = values[batch, start:stop, head].reshape(height, width, 2)
                    start = stop
                    for point in range(3):
                        dx, dy = offsets[batch, q, head, level, point].tolist()
                        x = centres[q, 0].item() * width + dx - 0.5
                        y = centres[q, 1].item() * height + dy - 0.5
                        weight = weights[batch, q, head, level * 3 + point]
                        mixed[batch, q, head] += weight * bilinear(plane, x, y)
    expected = attention.output_proj(mixed.flatten(2))
    torch.testing.assert_close(produced, expected)


def test_reference_points_are_cell_centres_in_float32() -> None:
    points = reference_points(((2, 4), (1, 1)), torch.device("cpu"))
    assert points.dtype == torch.float32
    assert points.tolist()[:2] == [[0.125, 0.25], [0.375, 0.25]]
    assert points.tolist()[4:] == [
        [0.125, 0.75],
        [0.375, 0.75],
        [0.625, 0.75],
        [0.875, 0.75],
        [0.5, 0.5],
    ]


def test_start_looks_around_and_weighs_evenly() -> None:
    attention = DeformableAttention(8, levels=1, heads=4, points=2, ratio=1.0)
    attention.reset()
    assert not attention.sampling_offsets.weight.any()
    offsets = attention.sampling_offsets.bias.reshape(4, 2, 2)
    directions = [[1, 0], [0, 1], [-1, 0], [0, -1]]
    expected = torch.tensor(directions, dtype=torch.float32)
    torch.testing.assert_close(offsets[:, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(offsets[:, 1], 2 * expected, atol=1e-6, rtol=0)
    assert not attention.attention_weights.weight.any()
    assert attention.value_proj.weight.any()
