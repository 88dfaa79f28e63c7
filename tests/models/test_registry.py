"""Names, their values, and what is built from them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_medurwkv.models import (
    VRWKV,
    MedURWKV,
    ModelConfig,
    ModelError,
    VRWKVAdapter,
    build_model,
    create_model,
    list_models,
    model_config,
)


def test_names() -> None:
    assert list_models() == sorted(
        [f"med_urwkv_{size}" for size in ("nano", "tiny", "small")]
        + [
            f"{family}_{size}"
            for family in (
                "upernet_vrwkv",
                "vrwkv",
                "vrwkv_adapter",
                "vrwkv_classifier",
            )
            for size in ("tiny", "small", "base", "large")
        ]
        + [
            f"{family}_{size}"
            for family in (
                "rwkv_unet",
                "rwkv_unet_encoder",
                "vrwkv6",
                "vrwkv6_classifier",
            )
            for size in ("tiny", "small", "base")
        ]
        + ["restore_rwkv"]
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vrwkv_tiny", VRWKV),
        ("vrwkv_adapter_tiny", VRWKVAdapter),
        ("med_urwkv_tiny", MedURWKV),
    ],
)
def test_kinds(name: str, kind: type[torch.nn.Module]) -> None:
    with torch.device("meta"):
        network = create_model(name)
    assert type(network) is kind
    assert network.config == model_config(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vrwkv_tiny", {"post_norm": False, "layer_scale": None, "img_size": 224}),
        ("vrwkv_small", {"post_norm": True, "layer_scale": 1.0, "key_norm": False}),
        ("vrwkv_base", {"post_norm": True, "layer_scale": 1e-5, "key_norm": False}),
        ("vrwkv_large", {"post_norm": True, "layer_scale": 1e-5, "key_norm": True}),
        ("vrwkv_adapter_tiny", {"post_norm": False, "layer_scale": 1.0}),
        ("vrwkv_adapter_large", {"post_norm": True, "deform_ratio": 0.5}),
        ("med_urwkv_nano", {"post_norm": False, "embed_dim": 96, "depth": 8}),
        ("med_urwkv_small", {"post_norm": True, "embed_dim": 384}),
    ],
)
def test_what_cannot_be_seen_in_keys(name: str, expected: dict[str, Any]) -> None:
    values = model_config(name).to_dict()
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    "override",
    [
        {"embed_dim": 64},
        {"depth": 5},
        {"patch_size": 8},
        {"img_size": 96},
        {"in_channels": 1},
        {"num_classes": 7},
        {"post_norm": True},
        {"key_norm": True},
        {"layer_scale": None},
        {"hidden_rate": 2},
        {"interactions": 2},
        {"extra_extractors": 0},
        {"shift_pixels": 2},
        {"decoder_depths": [0, 1, 2]},
        {"drop_path": 0.1},
    ],
    ids=lambda override: next(iter(override)),
)
def test_every_value_can_be_overridden_and_rebuilt(
    small_config: dict[str, Any], override: dict[str, Any]
) -> None:
    network = create_model("med_urwkv_nano", **(small_config | override)).eval()
    config = network.config
    copy = build_model(type(config).from_dict(config.to_dict())).eval()
    copy.load_state_dict(network.state_dict())
    image = torch.randn(1, config.in_channels, 40, 70)
    with torch.inference_mode():
        logits = network(image)
        assert torch.equal(copy(image), logits)
    assert logits.shape == (1, override.get("num_classes", 2), 40, 70)
    assert torch.isfinite(logits).all()


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(ModelError, match=r"vrwkv_base.*Did you mean 'med_urwkv_nano'"):
        create_model("med_urwkv_nono")


def test_unknown_argument_lists_the_values() -> None:
    with pytest.raises(ModelError, match=r"no 'classes'.*num_classes"):
        create_model("med_urwkv_nano", classes=3)


def test_no_network_for_a_bare_configuration() -> None:
    with pytest.raises(ModelError, match="ModelConfig"):
        build_model(ModelConfig())
