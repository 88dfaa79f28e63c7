"""The encoders through timm's own entrance."""

from __future__ import annotations

import pytest
import timm
import torch

from napari_medurwkv.models import (
    TIMM_NAMES,
    VRWKV,
    VRWKV6,
    Classifier,
    ModelError,
    VRWKVAdapter,
)

SMALL = {"img_size": 64, "embed_dim": 16, "depth": 4}


def test_names_are_registered() -> None:
    assert set(TIMM_NAMES) <= set(timm.list_models("vrwkv*"))
    assert "vrwkv_tiny_patch16_224" in TIMM_NAMES
    assert "vrwkv_adapter_large_patch16_192" in TIMM_NAMES


def test_plain_encoder() -> None:
    network = timm.create_model(
        "vrwkv_tiny_patch16_224",
        features_only=True,
        out_indices=(1, -1),
        in_chans=1,
        **SMALL,
    )
    assert isinstance(network, VRWKV)
    maps = network(torch.randn(1, 1, 40, 64))
    assert network.feature_info.channels() == [level.shape[1] for level in maps]
    assert network.feature_info.reduction() == [16, 16]
    assert network.feature_info.module_name() == ["layers.1", "layers.3"]


def test_adapter() -> None:
    network = timm.create_model(
        "vrwkv_adapter_tiny_patch16_224",
        features_only=True,
        deform_num_heads=2,
        conv_inplane=8,
        **SMALL,
    )
    assert isinstance(network, VRWKVAdapter)
    maps = network(torch.randn(1, 3, 64, 96))
    for features, channels, reduction in zip(
        maps,
        network.feature_info.channels(),
        network.feature_info.reduction(),
        strict=True,
    ):
        assert features.shape == (1, channels, 64 // reduction, 96 // reduction)


def test_sixth_version_and_its_classifier() -> None:
    small = {"img_size": 32, "embed_dim": 64, "depth": 2}
    name = "vrwkv6_tiny_patch16_224"
    encoder = timm.create_model(name, features_only=True, **small)
    assert isinstance(encoder, VRWKV6)
    classifier = timm.create_model(name, num_classes=5, **small)
    assert isinstance(classifier, Classifier)
    assert classifier(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_public_files_are_described() -> None:
    described = timm.get_pretrained_cfg("vrwkv_small_patch16_224")
    assert described.hf_hub_id == "OpenGVLab/Vision-RWKV"
    assert described.hf_hub_filename == "vrwkv_s_in1k_224.pth"
    assert described.mean == (0.485, 0.456, 0.406)
    network = timm.create_model("vrwkv_tiny_patch16_224", features_only=True, **SMALL)
    assert network.pretrained_cfg["hf_hub_filename"] == "vrwkv_t_in1k_224.pth"
    large = timm.get_pretrained_cfg("vrwkv_large_patch16_192")
    assert (large.num_classes, large.input_size) == (1000, (3, 384, 384))


def test_refusals() -> None:
    with pytest.raises(ModelError, match="features_only=True"):
        timm.create_model("vrwkv_adapter_tiny_patch16_224")
    with pytest.raises(ModelError, match="load_encoder_weights"):
        timm.create_model("vrwkv_tiny_patch16_224", pretrained=True, features_only=True)
