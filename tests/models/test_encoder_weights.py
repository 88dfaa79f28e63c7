"""Published weights in an encoder: what is taken, resized, ignored, refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from napari_medurwkv.errors import CheckpointError
from napari_medurwkv.models import (
    MedURWKV,
    create_model,
    load_encoder_weights,
)

TRUNK = {"img_size": 64, "embed_dim": 32, "depth": 4}
ADAPTER = TRUNK | {"conv_inplane": 8, "deform_num_heads": 2}


def classification(**config: Any) -> dict[str, Tensor]:
    torch.manual_seed(1)
    state = create_model("vrwkv_tiny", **(TRUNK | config)).state_dict()
    return state | {
        "head.fc.weight": torch.randn(10, 32),
        "head.fc.bias": torch.randn(10),
    }


def adapter(**config: Any) -> dict[str, Tensor]:
    torch.manual_seed(2)
    return create_model("vrwkv_adapter_tiny", **(ADAPTER | config)).state_dict()


def prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"backbone.{key}": value for key, value in state.items()}


def snapshot(network: torch.nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def test_classification_weights(small_network: MedURWKV) -> None:
    state = classification()
    before = snapshot(small_network)
    with torch.no_grad():
        small_network.encoder.layers[1].gamma1.fill_(0.3)
    report = load_encoder_weights(small_network, state)
    own = small_network.encoder.state_dict()
    trunk = ("layers.", "pos_embed", "patch_embed.")
    assert report.layout == "classification"
    assert set(report.taken) == {key for key in state if key.startswith(trunk)}
    assert report.resized == ()
    assert set(report.ignored) == {
        "ln1.weight",
        "ln1.bias",
        "head.fc.weight",
        "head.fc.bias",
    }
    assert set(report.fresh) == set(own) - set(report.taken)
    for key in report.taken:
        assert torch.equal(own[key], state[key])
    for key in report.fresh:
        unit = key.endswith((".gamma1", ".gamma2"))
        expected = torch.ones(32) if unit else before[f"encoder.{key}"]
        assert torch.equal(own[key], expected)


def test_trunk_computes_what_the_classifier_computed(small_network: MedURWKV) -> None:
    torch.manual_seed(1)
    published = create_model("vrwkv_tiny", **TRUNK, final_norm=False).eval()
    load_encoder_weights(small_network, published.state_dict())
    seen: list[Tensor] = []
    encoder = small_network.eval().encoder
    encoder.layers[-1].register_forward_hook(lambda *a: seen.append(a[-1]))
    image = torch.randn(1, 3, 64, 64)
    encoder(image)
    expected = published(image)[0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize("heads", [False, True])
def test_adapter_and_upernet_weights(small_network: MedURWKV, heads: bool) -> None:
    state = adapter()
    given = prefixed(state)
    extra = {}
    if heads:
        extra = {
            "decode_head.conv_seg.weight": torch.randn(150, 8, 1, 1),
            "auxiliary_head.conv_seg.bias": torch.randn(150),
        }
    report = load_encoder_weights(small_network, given | extra)
    assert report.layout == ("upernet" if heads else "adapter")
    assert set(report.taken) == set(state)
    assert report.fresh == report.resized == ()
    assert set(report.ignored) == set(extra)
    for key, value in small_network.encoder.state_dict().items():
        assert torch.equal(value, state[key])


def test_batch_counters_may_be_absent(small_network: MedURWKV) -> None:
    state = {k: v for k, v in adapter().items() if "num_batches" not in k}
    report = load_encoder_weights(small_network, state)
    assert all(key.endswith("num_batches_tracked") for key in report.fresh)


def test_position_embedding_is_resized(small_network: MedURWKV) -> None:
    state = classification(img_size=96)
    report = load_encoder_weights(small_network, state)
    assert report.resized == ("pos_embed",)
    assert "pos_embed" not in report.taken
    grid = state["pos_embed"].reshape(1, 6, 6, 32).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(
        grid, size=(4, 4), mode="bicubic", align_corners=False
    )
    own = small_network.encoder.pos_embed.detach().reshape(4, 4, 32)
    torch.testing.assert_close(own, expected[0].permute(1, 2, 0))


def test_half_precision_files_become_float32(small_network: MedURWKV) -> None:
    state = {key: value.half() for key, value in classification().items()}
    load_encoder_weights(small_network, state)
    assert small_network.encoder.pos_embed.dtype == torch.float32


def test_plain_encoder_takes_the_final_norm() -> None:
    network = create_model("vrwkv_tiny", **TRUNK)
    state = classification()
    report = load_encoder_weights(network, state)
    assert report.fresh == ()
    assert "ln1.weight" in report.taken
    assert set(report.ignored) == {"head.fc.weight", "head.fc.bias"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            classification(embed_dim=16),
            r"pos_embed \(1, 16, 16\) against \(1, 16, 32\)",
        ),
        (classification(depth=5), r"layers\.4\.\S+ \(32,\) against nothing"),
        (classification(depth=3), r"layers\.3\.\S+ nothing against"),
        (classification(key_norm=True), r"key_norm\.weight \(32,\) against nothing"),
        (adapter(conv_inplane=16), r"spm\.stem\.0\.weight \(16, 3, 3, 3\) against"),
        (adapter(extra_extractors=1), r"extra_extractors\.1\.\S+ nothing against"),
        ({"conv.weight": torch.zeros(1)}, "of no Vision-RWKV encoder"),
    ],
)
def test_misfits_are_named_and_nothing_is_changed(
    small_network: MedURWKV, state: dict[str, Tensor], message: str
) -> None:
    before = snapshot(small_network)
    with pytest.raises(CheckpointError, match=message):
        load_encoder_weights(small_network, state)
    after = small_network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_adapter_weights_do_not_go_into_a_plain_encoder() -> None:
    network = create_model("vrwkv_tiny", **TRUNK)
    with pytest.raises(CheckpointError, match="create a vrwkv_adapter"):
        load_encoder_weights(network, adapter())


def test_other_modules_have_no_encoder() -> None:
    with pytest.raises(CheckpointError, match="A Linear has no"):
        load_encoder_weights(torch.nn.Linear(2, 2), adapter())


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_other_channels_keep_what_grey_images_give(channels: int) -> None:
    state = adapter()
    network = create_model("vrwkv_adapter_tiny", **ADAPTER, in_channels=channels).eval()
    report = load_encoder_weights(network, state)
    assert set(report.resized) == {"patch_embed.projection.weight", "spm.stem.0.weight"}
    rgb = create_model("vrwkv_adapter_tiny", **ADAPTER).eval()
    load_encoder_weights(rgb, state)
    grey = torch.rand(1, 1, 64, 64)
    for mine, theirs in zip(
        network(grey.expand(-1, channels, -1, -1)),
        rgb(grey.expand(-1, 3, -1, -1)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_another_patch_gives_nearly_the_same_tokens_for_a_scaled_image() -> None:
    state = classification()
    # A patch embedding that a network could have learnt: smooth.
    smooth = torch.nn.functional.interpolate(
        torch.randn(32, 3, 4, 4), size=(16, 16), mode="bicubic"
    )
    state["patch_embed.projection.weight"] = smooth
    network = create_model("vrwkv_tiny", **TRUNK, patch_size=8)
    report = load_encoder_weights(network, state)
    assert set(report.resized) == {"patch_embed.projection.weight", "pos_embed"}
    image = torch.nn.functional.interpolate(
        torch.rand(1, 3, 8, 8), size=(64, 64), mode="bicubic"
    )
    half = torch.nn.functional.interpolate(image, size=(32, 32), mode="area")
    small = network.patch_embed.projection(half)
    large = torch.nn.functional.conv2d(
        image, smooth, state["patch_embed.projection.bias"], stride=16
    )
    correlation = torch.corrcoef(torch.stack((small.flatten(), large.flatten())))[0, 1]
    assert correlation > 0.95


def test_a_detector_and_a_whole_network(small_network: MedURWKV) -> None:
    state = adapter()
    report = load_encoder_weights(
        small_network, prefixed(state) | {"roi_head.a": torch.ones(1)}
    )
    assert "roi_head.a" in report.ignored
    other = create_model("med_urwkv_nano", **small_network.config.to_dict())
    whole = load_encoder_weights(other, small_network.state_dict())
    assert whole.layout == "whole network"
    assert set(whole.taken) == set(other.encoder.state_dict())
    assert "head.weight" in whole.ignored
    for key, value in small_network.encoder.state_dict().items():
        assert torch.equal(other.encoder.state_dict()[key], value)


def test_the_report_in_words(small_network: MedURWKV) -> None:
    told = load_encoder_weights(small_network, classification(img_size=96)).sentences()
    assert told[0].endswith("tensors of the encoder were taken as they are")
    assert told[1] == "resized: pos_embed"
    assert "start fresh: interactions, layers, level_embed" in told[2]
    assert told[3] == "4 of the file were not needed"
