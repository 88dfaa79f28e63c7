"""The plain encoder: which maps, any size, position embedding."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from napari_medurwkv.models import VRWKV, VRWKVConfig
from napari_medurwkv.models.vrwkv import resize_pos_embed, tokens_to_map

CONFIG = VRWKVConfig(img_size=64, embed_dim=16, depth=3, out_indices=(0, -1))


@pytest.fixture
def network() -> VRWKV:
    torch.manual_seed(0)
    return VRWKV(CONFIG).eval()


@pytest.mark.parametrize(
    ("size", "grid"),
    [((64, 64), (4, 4)), ((1, 1), (1, 1)), ((1, 50), (1, 4)), ((33, 100), (3, 7))],
)
def test_any_size(network: VRWKV, size: tuple[int, int], grid: tuple[int, int]) -> None:
    for features in network(torch.randn(2, 3, *size)):
        assert features.shape == (2, 16, *grid)


def test_padding_is_zeros_at_the_right_and_at_the_bottom(network: VRWKV) -> None:
    image = torch.randn(1, 3, 30, 41)
    padded = F.pad(image, (0, 7, 0, 2))
    torch.testing.assert_close(network(image)[1], network(padded)[1])


def test_maps_are_in_image_order(network: VRWKV) -> None:
    tokens, grid = network.patch_embed(torch.randn(1, 3, 32, 64))
    features = tokens_to_map(tokens, grid)
    assert grid == (2, 4)
    assert torch.equal(features[0, :, 1, 2], tokens[0, 6])


def test_final_norm_only_after_the_last_block(network: VRWKV) -> None:
    with torch.no_grad():
        network.ln1.bias.fill_(7)
    first, last = network(torch.randn(1, 3, 64, 64))
    assert last.mean().item() == pytest.approx(7, abs=1e-3)
    assert first.mean().item() == pytest.approx(0, abs=0.1)


def test_out_indices_keep_their_order() -> None:
    forward = VRWKV(CONFIG)
    backward = VRWKV(VRWKVConfig(**CONFIG.to_dict() | {"out_indices": (2, 0)}))
    backward.load_state_dict(forward.state_dict())
    image = torch.randn(1, 3, 64, 64)
    expected = forward(image)
    produced = backward(image)
    torch.testing.assert_close(produced[0], expected[1])
    torch.testing.assert_close(produced[1], expected[0])


def test_position_embedding_keeps_its_orientation() -> None:
    ramp = torch.arange(4.0)[:, None].expand(4, 4)  # grows downwards
    resized = resize_pos_embed(ramp.reshape(1, 16, 1), (4, 4), (8, 2))
    rows = resized.reshape(8, 2)
    assert torch.equal(rows[:, 0], rows[:, 1])
    assert (rows[1:, 0] > rows[:-1, 0]).all()
    same = ramp.reshape(1, 16, 1)
    assert resize_pos_embed(same, (4, 4), (4, 4)) is same


def test_drop_path_rises_over_the_blocks() -> None:
    network = VRWKV(VRWKVConfig(embed_dim=8, depth=3, drop_path=0.2))
    rates = [getattr(block.drop_path, "drop_prob", 0) for block in network.layers]
    assert rates == pytest.approx([0, 0.1, 0.2])
