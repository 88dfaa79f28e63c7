"""The block: order of its parts, starting values, variants."""

from __future__ import annotations

from math import log

import pytest
import torch
from napari_medurwkv.kernels import bi_wkv
from torch.nn import functional as F

from napari_medurwkv.models import Block, BlockConfig, q_shift
from napari_medurwkv.models.blocks import ChannelMix, SpatialMix, initialise

GRID = (3, 4)


@pytest.fixture
def tokens() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 12, 8)


def test_spatial_mix_is_the_formula(tokens: torch.Tensor) -> None:
    mix = SpatialMix(BlockConfig(dim=8), layer=1, depth=3)
    shifted = q_shift(tokens, GRID)

    def mixed(name: str) -> torch.Tensor:
        factor = getattr(mix, f"spatial_mix_{name}")
        return tokens * factor + shifted * (1 - factor)

    k, v, r = mix.key(mixed("k")), mix.value(mixed("v")), mix.receptance(mixed("r"))
    y = bi_wkv(mix.spatial_decay / 12, mix.spatial_first / 12, k, v)
    torch.testing.assert_close(mix(tokens, GRID), mix.output(torch.sigmoid(r) * y))


def test_channel_mix_is_the_formula(tokens: torch.Tensor) -> None:
    mix = ChannelMix(BlockConfig(dim=8), layer=1, depth=3)
    shifted = q_shift(tokens, GRID)
    x_k = tokens * mix.spatial_mix_k + shifted * (1 - mix.spatial_mix_k)
    x_r = tokens * mix.spatial_mix_r + shifted * (1 - mix.spatial_mix_r)
    expected = torch.sigmoid(mix.receptance(x_r)) * mix.value(F.relu(mix.key(x_k)) ** 2)
    torch.testing.assert_close(mix(tokens, GRID), expected)


def test_pre_and_post_norm(tokens: torch.Tensor) -> None:
    for post_norm in (False, True):
        config = BlockConfig(dim=8, post_norm=post_norm, layer_scale=0.5)
        block = Block(config, 0, 2)
        x = tokens
        for mixer, norm in ((block.att, block.ln1), (block.ffn, block.ln2)):
            change = norm(mixer(x, GRID)) if post_norm else mixer(norm(x), GRID)
            x = x + 0.5 * change
        torch.testing.assert_close(block(tokens, GRID), x)


def test_input_norm_comes_first(tokens: torch.Tensor) -> None:
    block = Block(BlockConfig(dim=8), 0, 2, input_norm=True)
    assert block.ln0 is not None
    inside = block.ln0(tokens)
    block_without = Block(BlockConfig(dim=8), 0, 2)
    block_without.load_state_dict(block.state_dict(), strict=False)
    torch.testing.assert_close(block(tokens, GRID), block_without(inside, GRID))


def test_no_shift_has_no_mixing_factors(tokens: torch.Tensor) -> None:
    block = Block(BlockConfig(dim=8, shift_pixels=0), 0, 2)
    assert not [key for key in block.state_dict() if "spatial_mix" in key]
    x = block.ln1(tokens)
    y = bi_wkv(
        block.att.spatial_decay / 12,
        block.att.spatial_first / 12,
        block.att.key(x),
        block.att.value(x),
    )
    expected = block.att.output(torch.sigmoid(block.att.receptance(x)) * y)
    torch.testing.assert_close(block.att(x, GRID), expected)


def test_fancy_start() -> None:
    dim, layer, depth = 6, 2, 5
    mix = SpatialMix(BlockConfig(dim=dim), layer, depth)
    channel = ChannelMix(BlockConfig(dim=dim), layer, depth)
    rising, falling = layer / (depth - 1), 1 - layer / depth
    for c in range(dim):
        ramp = (c / dim) ** falling
        expected = {
            "spatial_decay": -5 + 8 * (c / (dim - 1)) ** (0.7 + 1.3 * rising),
            "spatial_first": log(0.3) + 0.5 * ((c + 1) % 3 - 1),
            "spatial_mix_k": ramp,
            "spatial_mix_v": ramp + 0.3 * rising,
            "spatial_mix_r": (c / dim) ** (0.5 * falling),
        }
        for name, value in expected.items():
            start = getattr(mix, name).detach().flatten()[c].item()
            assert start == pytest.approx(value, abs=1e-6), name
        for name in ("spatial_mix_k", "spatial_mix_r"):
            start = getattr(channel, name).detach().flatten()[c].item()
            assert start == pytest.approx(ramp, abs=1e-6)


@pytest.mark.parametrize(
    ("mode", "decay", "mix"), [("local", 1, 1), ("global", 0, 0.5)]
)
def test_other_starts(mode: str, decay: float, mix: float) -> None:
    layer = SpatialMix(BlockConfig(dim=4, init_mode=mode), 0, 2)
    assert layer.spatial_decay.tolist() == layer.spatial_first.tolist() == [decay] * 4
    assert layer.spatial_mix_v.flatten().tolist() == [mix] * 4


def test_a_stage_of_one_block_starts_finite() -> None:
    block = Block(BlockConfig(dim=8), 0, 1)
    assert all(torch.isfinite(p).all() for p in block.parameters())


def test_drop_path_only_in_training(tokens: torch.Tensor) -> None:
    block = Block(BlockConfig(dim=8), 0, 2, drop_path=0.999999)
    torch.testing.assert_close(block.train()(tokens, GRID), tokens)
    assert not torch.allclose(block.eval()(tokens, GRID), tokens)


def test_initialise_linear_and_convolution() -> None:
    torch.manual_seed(0)
    parts = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Conv2d(16, 32, 3))
    initialise(parts)
    assert parts[0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert parts[1].weight.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.1)
    assert not parts[0].bias.any() and not parts[1].bias.any()


def test_half_precision_weights_use_the_operator_in_float32(
    tokens: torch.Tensor,
) -> None:
    block = Block(BlockConfig(dim=8), 0, 2)
    expected = block(tokens, GRID)
    half = block.bfloat16()(tokens.bfloat16(), GRID)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.05)
