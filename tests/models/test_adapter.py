"""The adapter: four scales, any size, and a trunk that it leaves alone at first."""

from __future__ import annotations

from math import ceil

import pytest
import torch
from torch.nn import functional as F

from napari_medurwkv.models import AdapterConfig, VRWKVAdapter

CONFIG = AdapterConfig(
    img_size=64, embed_dim=16, depth=5, conv_inplane=8, deform_num_heads=2
)


@pytest.fixture
def network() -> VRWKVAdapter:
    torch.manual_seed(0)
    return VRWKVAdapter(CONFIG).eval()


@pytest.mark.parametrize("size", [(64, 96), (1, 1), (1, 70), (33, 100)])
def test_any_size(network: VRWKVAdapter, size: tuple[int, int]) -> None:
    maps = network(torch.randn(2, 3, *size))
    assert [tuple(level.shape) for level in maps] == [
        (2, 16, ceil(size[0] / stride), ceil(size[1] / stride))
        for stride in (4, 8, 16, 32)
    ]


def test_padding_is_zeros_at_the_right_and_at_the_bottom(network: VRWKVAdapter) -> None:
    image = torch.randn(1, 3, 50, 40)
    whole = network(F.pad(image, (0, 24, 0, 14)))
    for level, padded in zip(network(image), whole, strict=True):
        torch.testing.assert_close(
            level, padded[..., : level.shape[2], : level.shape[3]]
        )


def test_blocks_are_spread_over_the_interactions(network: VRWKVAdapter) -> None:
    assert network.ranges == ((0, 1), (1, 2), (2, 3), (3, 5))
    published = AdapterConfig(depth=12)
    with torch.device("meta"):
        assert VRWKVAdapter(published).ranges == ((0, 3), (3, 6), (6, 9), (9, 12))


def test_injectors_start_without_effect(network: VRWKVAdapter) -> None:
    seen: list[torch.Tensor] = []
    network.layers[-1].register_forward_hook(lambda *a: seen.append(a[-1]))
    image = torch.randn(1, 3, 64, 64)
    network(image)
    tokens, grid = network.embed(image)
    for block in network.layers:
        tokens = block(tokens, grid)
    torch.testing.assert_close(seen[0], tokens)


def test_maps_follow_the_image(network: VRWKVAdapter) -> None:
    """Where the image changes, the features change most."""
    image = torch.zeros(1, 3, 128, 128)
    changed = image.clone()
    changed[..., :16, 96:] = 5
    for stride, one, two in zip(
        (4, 8, 16, 32), network(image), network(changed), strict=True
    ):
        row, column = divmod((one - two).abs().sum(1).argmax().item(), 128 // stride)
        assert row * stride < 32
        assert column * stride >= 64


@pytest.mark.parametrize("patch_size", [8, 12, 32])
def test_other_patches(patch_size: int) -> None:
    values = CONFIG.to_dict() | {"patch_size": patch_size}
    network = VRWKVAdapter(AdapterConfig.from_dict(values)).eval()
    assert network(torch.randn(1, 3, 64, 40))[0].shape == (1, 16, 16, 10)
