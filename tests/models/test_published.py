"""The published networks where no reference vector looks: sizes, heads, layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medurwkv.models import (
    Classifier,
    ModelError,
    RestoreRWKV,
    RWKVUNet,
    UPerNet,
    create_model,
)

TRUNK: dict[str, Any] = {"img_size": 64, "embed_dim": 16, "depth": 4}
ADAPTER = TRUNK | {"conv_inplane": 8, "deform_num_heads": 2}
UPERNET = ADAPTER | {"num_classes": 5, "head_dim": 12, "auxiliary_dim": 6}
UNET = {"dims": (8, 8, 12, 16), "depths": (2, 2, 2, 2), "num_classes": 3}
RESTORE = {"dim": 8, "depths": (1, 1, 1, 1), "refinement": 1}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def alive(network: nn.Module) -> nn.Module:
    """Give every tensor a value that an output shows, and stop training."""
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.2, 0.6)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "config", "channels", "outputs"),
    [
        ("upernet_vrwkv_tiny", UPERNET, 3, 5),
        ("rwkv_unet_tiny", UNET, 3, 3),
        ("rwkv_unet_tiny", UNET, 1, 3),
        ("restore_rwkv", RESTORE, 1, 1),
    ],
)
@pytest.mark.parametrize("size", [(32, 64), (37, 50), (5, 9)])
def test_any_size_gives_an_output_of_that_size(
    name: str,
    config: dict[str, Any],
    channels: int,
    outputs: int,
    size: tuple[int, int],
) -> None:
    network = create_model(name, **config).eval()
    with torch.inference_mode():
        out = network(torch.rand(2, channels, *size))
    assert out.shape == (2, outputs, *size)
    assert out.isfinite().all()


@pytest.mark.parametrize(
    ("name", "config", "multiple"),
    [("rwkv_unet_tiny", UNET, 16), ("restore_rwkv", RESTORE, 8)],
)
def test_other_sizes_repeat_the_border(
    name: str, config: dict[str, Any], multiple: int
) -> None:
    network = create_model(name, **config).eval()
    channels = network.config.in_channels
    image = torch.rand(1, channels, multiple + 1, 2 * multiple - 3)
    padded = F.pad(image, (0, 3, 0, multiple - 1), mode="replicate")
    with torch.inference_mode():
        whole = network(padded)
        part = network(image)
    torch.testing.assert_close(part, whole[..., : multiple + 1, : 2 * multiple - 3])


def test_rwkv_unet_ignores_what_only_the_newer_layout_stores() -> None:
    new, old = (
        create_model("rwkv_unet_tiny", **UNET, full_layout=full).eval()
        for full in (True, False)
    )
    missing = old.load_state_dict(new.state_dict(), strict=False)
    assert not missing.missing_keys and missing.unexpected_keys
    image = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(new(image), old(image), rtol=0, atol=0)
    # What is stored and not used has no say.
    for key, value in new.state_dict().items():
        if key in missing.unexpected_keys:
            value.fill_(7)
    torch.testing.assert_close(new(image), old(image), rtol=0, atol=0)


def test_rwkv_unet_attends_in_the_two_coarsest_stages_after_their_first_block() -> None:
    network = create_model("rwkv_unet_tiny", **UNET)
    assert isinstance(network, RWKVUNet)
    attending = [
        (stage, index)
        for stage in range(5)
        for index, block in enumerate(getattr(network.encoder, f"stage{stage}"))
        if block.attends
    ]
    assert attending == [(3, 1), (4, 1)]


def test_rwkv_unet_repeats_a_grey_image() -> None:
    network = create_model("rwkv_unet_tiny", **UNET, in_channels=1).eval()
    grey = torch.rand(1, 1, 16, 32)
    torch.testing.assert_close(network(grey), network(grey.repeat(1, 3, 1, 1)))


def test_rwkv_unet_encoder_classifies() -> None:
    encoder = create_model("rwkv_unet_encoder_tiny", **UNET).eval()
    image = torch.rand(2, 3, 32, 32)
    last = encoder(image)[-1]
    normed = F.layer_norm(
        last.permute(0, 2, 3, 1), last.shape[1:2], *encoder.norm.norm.parameters(), 1e-6
    )
    expected = encoder.head(normed.mean((1, 2)))
    torch.testing.assert_close(encoder.classify(image), expected)


def test_a_classifier_is_the_mean_of_the_last_map_and_a_head() -> None:
    linear = create_model("vrwkv_classifier_tiny", **TRUNK, num_labels=7).eval()
    assert isinstance(linear, Classifier)
    image = torch.rand(2, 3, 64, 48)
    features = linear.backbone(image)[-1].mean((2, 3))
    expected = features @ linear.head.fc.weight.T + linear.head.fc.bias
    torch.testing.assert_close(linear(image), expected)
    assert list(linear.state_dict())[-2:] == ["head.fc.weight", "head.fc.bias"]


def test_the_large_classifier_has_a_hidden_layer() -> None:
    with torch.device("meta"):
        large = create_model("vrwkv_classifier_large")
    shapes = {k: tuple(v.shape) for k, v in large.head.state_dict().items()}
    assert shapes == {
        "0.weight": (3072, 1024),
        "0.bias": (3072,),
        "2.weight": (1000, 3072),
        "2.bias": (1000,),
    }
    # The published count of the head.
    parameters = sum(p.numel() for p in large.head.parameters())
    assert parameters == pytest.approx(6.22e6, abs=5e3)
    small = create_model("vrwkv_classifier_large", **TRUNK, head_hidden=8).eval()
    features = small.backbone(torch.ones(1, 3, 32, 32))[-1].mean((2, 3))
    first, _, second = small.head
    expected = second(torch.tanh(first(features)))
    torch.testing.assert_close(small(torch.ones(1, 3, 32, 32)), expected)


@pytest.mark.parametrize(
    ("size", "published"),
    [("tiny", 6.2e6), ("small", 23.8e6), ("base", 93.7e6), ("large", 334.9e6)],
)
def test_classifiers_have_the_published_number_of_parameters(
    size: str, published: float
) -> None:
    with torch.device("meta"):
        network = create_model(f"vrwkv_classifier_{size}")
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == pytest.approx(published, abs=6e4)


def test_a_sixth_classifier() -> None:
    network = create_model(
        "vrwkv6_classifier_tiny", img_size=32, embed_dim=64, depth=1, num_labels=3
    )
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 3)
    with pytest.raises(ModelError, match="heads of 64"):
        create_model("vrwkv6_tiny", embed_dim=96)


def upernet() -> UPerNet:
    network = create_model("upernet_vrwkv_tiny", **UPERNET)
    assert isinstance(network, UPerNet)
    return network.eval()


def test_upernet_keys() -> None:
    keys = list(upernet().state_dict())
    head = [k.removeprefix("decode_head.") for k in keys if k.startswith("decode_head")]
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def module(name: str) -> list[str]:
        return [f"{name}.conv.weight"] + [f"{name}.bn.{part}" for part in parts]

    expected = ["conv_seg.weight", "conv_seg.bias"]
    for scale in range(4):
        expected += module(f"psp_modules.{scale}.1")
    expected += module("bottleneck")
    for group in ("lateral_convs", "fpn_convs"):
        for level in range(3):
            expected += module(f"{group}.{level}")
    assert head == expected + module("fpn_bottleneck")
    assert keys[-8:] == [
        "auxiliary_head.conv_seg.weight",
        "auxiliary_head.conv_seg.bias",
        *(f"auxiliary_head.{key}" for key in module("convs.0")),
    ]


def test_upernet_head_is_pooling_then_a_pyramid() -> None:
    network = alive(upernet())
    assert isinstance(network, UPerNet)
    head = network.decode_head
    maps = [torch.rand(1, 16, 16 >> level, 24 >> level) for level in range(4)]

    def convolved(module: Any, x: Tensor) -> Tensor:
        x = F.conv2d(x, module.conv.weight, padding=module.conv.weight.shape[-1] // 2)
        bn = module.bn
        x = (x - bn.running_mean[:, None, None]) / (bn.running_var + 1e-5).sqrt()[
            :, None, None
        ]
        return F.relu(x * bn.weight[:, None, None] + bn.bias[:, None, None])

    def up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)

    last = maps[3]
    pooled = [last]
    for scale, (_, module) in zip((1, 2, 3, 6), head.psp_modules, strict=True):
        small = F.adaptive_avg_pool2d(last, scale)
        pooled.append(up(convolved(module, small), last))
    levels = [convolved(m, x) for m, x in zip(head.lateral_convs, maps, strict=False)]
    levels.append(convolved(head.bottleneck, torch.cat(pooled, 1)))
    for fine in (2, 1, 0):
        levels[fine] = levels[fine] + up(levels[fine + 1], levels[fine])
    outs = [convolved(m, x) for m, x in zip(head.fpn_convs, levels, strict=False)]
    outs = [up(out, outs[0]) for out in (*outs, levels[3])]
    fused = convolved(head.fpn_bottleneck, torch.cat(outs, 1))
    expected = F.conv2d(fused, head.conv_seg.weight, head.conv_seg.bias)
    torch.testing.assert_close(head(tuple(maps)), expected)


def test_upernet_logits_are_resized_to_the_image() -> None:
    network = upernet()
    image = torch.rand(1, 3, 64, 96)
    coarse = network.decode_head(network.backbone(image))
    assert coarse.shape == (1, 5, 16, 24)
    expected = F.interpolate(coarse, (64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image), expected)


def test_the_auxiliary_head_reads_the_third_map() -> None:
    network = upernet()
    image = torch.rand(1, 3, 64, 96)
    assert network.auxiliary_head is not None
    expected = network.auxiliary_head(network.backbone(image)[2])
    torch.testing.assert_close(network.auxiliary(image), expected)
    without = create_model("upernet_vrwkv_tiny", **(UPERNET | {"auxiliary_dim": 0}))
    assert not [key for key in without.state_dict() if key.startswith("auxiliary")]
    with pytest.raises(RuntimeError, match="no auxiliary head"):
        without.auxiliary(image)


def test_restoration_adds_to_the_image() -> None:
    network = create_model("restore_rwkv", **RESTORE).eval()
    assert isinstance(network, RestoreRWKV)
    network.output.weight.data.zero_()
    image = torch.rand(1, 1, 16, 24)
    torch.testing.assert_close(network(image), image)


def test_a_stale_kernel_in_a_file_is_recomputed() -> None:
    network = create_model("restore_rwkv", **RESTORE).eval()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    other = create_model("restore_rwkv", **RESTORE).eval()
    stale = {
        key: torch.rand_like(value) if "reparam" in key else value
        for key, value in state.items()
    }
    other.load_state_dict(stale)
    image = torch.rand(1, 1, 16, 24)
    torch.testing.assert_close(other(image), network(image))
    shift = other.latent[0].att.omni_shift
    torch.testing.assert_close(shift.conv5x5_reparam.weight, shift.kernel())


def test_the_shift_is_the_sum_of_its_four_parts() -> None:
    network = create_model("restore_rwkv", **RESTORE)
    shift = network.encoder_level1[0].att.omni_shift
    alive(shift)
    tokens = torch.rand(2, 35, 8)
    plane = tokens.transpose(1, 2).reshape(2, 8, 5, 7)
    expected = shift.alpha[0] * plane
    for index, part in enumerate((shift.conv1x1, shift.conv3x3, shift.conv5x5), 1):
        expected = expected + shift.alpha[index] * part(plane)
    produced = shift(tokens, (5, 7)).transpose(1, 2).reshape(2, 8, 5, 7)
    torch.testing.assert_close(produced, expected)


@pytest.mark.parametrize(
    ("name", "config", "problem"),
    [
        ("rwkv_unet_tiny", {"dims": (8, 8, 8)}, "dims has to be 4"),
        ("rwkv_unet_tiny", {"depths": (1, 0, 1, 1)}, "depths has to be 4"),
        ("rwkv_unet_tiny", {"expansions": (1.0,)}, "expansions"),
        ("rwkv_unet_tiny", {"in_channels": 2}, "in_channels"),
        ("restore_rwkv", {"dim": 7}, "even"),
        ("vrwkv_tiny", {"segments": 5}, "segments"),
        ("upernet_vrwkv_tiny", {"pool_scales": (0,)}, "pool_scales"),
    ],
)
def test_values_that_fit_no_network(
    name: str, config: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ModelError, match=problem):
        create_model(name, **config)


@pytest.mark.parametrize(
    ("name", "config", "channels"),
    [
        ("upernet_vrwkv_tiny", UPERNET, 3),
        ("rwkv_unet_tiny", UNET, 3),
        ("restore_rwkv", RESTORE, 1),
        ("vrwkv6_tiny", {"img_size": 32, "embed_dim": 64, "depth": 2}, 3),
    ],
)
def test_they_train(name: str, config: dict[str, Any], channels: int) -> None:
    network = create_model(name, **config).train()
    out = network(torch.rand(2, channels, 64, 64))
    out = out if isinstance(out, Tensor) else out[-1]
    out.square().mean().backward()
    used = [p.grad for p in network.parameters() if p.grad is not None]
    assert used and all(grad.isfinite().all() for grad in used)
