"""Every published size is known by its keys and shapes, under every prefix."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from napari_medurwkv.checkpoints.identify import identify
from napari_medurwkv.errors import CheckpointError
from napari_medurwkv.models import blank_network, list_models, model_config

SEGMENTS = {
    "vrwkv": 32,
    "vrwkv_classifier": 32,
    "vrwkv6": 0,
    "vrwkv6_classifier": 0,
    "vrwkv_adapter": 16,
    "upernet_vrwkv": 16,
    "rwkv_unet": 32,
    "rwkv_unet_encoder": 32,
    "restore_rwkv": 64,
    "med_urwkv": 0,
}
Shapes = dict[str, tuple[int, ...]]


@cache
def needed_by(name: str) -> Shapes:
    state = blank_network(model_config(name)).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def shapes_of(name: str, **config: Any) -> Shapes:
    if not config:
        needed = needed_by(name)
    else:
        state = blank_network(model_config(name, **config)).state_dict()
        needed = {key: tuple(value.shape) for key, value in state.items()}
    return {key.removeprefix("backbone."): shape for key, shape in needed.items()}


def family_of(name: str) -> str:
    return name if name == "restore_rwkv" else name.rpartition("_")[0]


PREFIXES = ("", "module.", "backbone.", "model._orig_mod.module.")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", list_models())
def test_published_sizes(name: str, prefix: str) -> None:
    shapes = {prefix + key: shape for key, shape in shapes_of(name).items()}
    found = identify(shapes, "a.pth")
    assert found.architecture == name
    assert found.certain
    assert found.size in (name.rpartition("_")[2], "published")
    expected = model_config(name).to_dict()
    expected["segments"] = SEGMENTS[family_of(name)]
    if name in ("vrwkv_large", "vrwkv_classifier_large"):
        expected["segments"] = 16
    if expected.get("layer_scale") is not None:
        expected["layer_scale"] = 1.0  # where training starts; not to be seen
    assert found.config == expected
    assert found.stripped == ((prefix,) if prefix else ())
    # Every key finds its place in the network that is built.
    needed = needed_by(name)
    optional = ("num_batches_tracked", "conv5x5_reparam.weight")
    assert set(found.keys.values()) == {k for k in needed if not k.endswith(optional)}


@pytest.mark.parametrize("name", [n for n in list_models() if "unet" in n])
def test_older_layout(name: str) -> None:
    found = identify(shapes_of(name, full_layout=False), "a.pth")
    assert found.architecture == name and found.certain
    assert found.config["full_layout"] is False


def test_a_layout_between_the_two_leaves_out_what_is_not_used() -> None:
    shapes = shapes_of("rwkv_unet_tiny")
    kept = set(shapes_of("rwkv_unet_tiny", full_layout=False))
    shapes = {k: s for k, s in shapes.items() if k in kept or ".ln2." in k}
    found = identify(shapes, "a.pth")
    assert found.config["full_layout"] is False
    assert "encoder.stage1.0.ln2.weight" in found.dropped
    assert "encoder.stage3.1.att.key.weight" in found.keys


@pytest.mark.parametrize(
    "key",
    [
        "encoder.stage1.0.att.key.weight",
        "encoder.stage4.0.att.key_norm.bias",
        "encoder.stage0.0.ln2.weight",
        "encoder.stage3.1.ln2.bias",
    ],
)
def test_one_unused_tensor_missing_is_no_older_layout(key: str) -> None:
    shapes = shapes_of("rwkv_unet_tiny")
    del shapes[key]
    with pytest.raises(CheckpointError, match=rf"'{key}' is missing, while others"):
        identify(shapes, "a.pth")


@pytest.mark.parametrize("key", ["encoder.stage1.0.att.key.weight", "encoder.x.ln2.w"])
def test_one_unused_tensor_too_many_is_no_newer_layout(key: str) -> None:
    shapes = shapes_of("rwkv_unet_tiny", full_layout=False)
    shapes[key] = (3, 3)
    if "att" in key:
        with pytest.raises(CheckpointError, match="are missing, while others"):
            identify(shapes, "a.pth")
    else:
        assert key in identify(shapes, "a.pth").keys  # and loading calls it unexpected


def test_upernet_prefix_is_on_the_encoder_only() -> None:
    shapes = {
        key if "head." in key else f"backbone.{key}": shape
        for key, shape in shapes_of("upernet_vrwkv_tiny").items()
    }
    found = identify(shapes, "a.pth")
    assert (found.task, found.outputs) == ("segmentation", 150)
    assert found.stripped == ("backbone.",)


def test_a_detector_is_an_adapter() -> None:
    shapes = shapes_of("vrwkv_adapter_base")
    shapes |= {"neck.fpn.weight": (3, 3), "roi_head.bbox.weight": (3, 3)}
    found = identify(shapes, "a.pth")
    assert found.architecture == "vrwkv_adapter_base" and found.task == "features"
    assert set(found.dropped) >= {"neck.fpn.weight", "roi_head.bbox.weight"}


def test_an_encoder_under_encoder() -> None:
    shapes = {f"encoder.{k}": s for k, s in shapes_of("vrwkv_small").items()}
    assert identify(shapes, "a.pth").architecture == "vrwkv_small"


def test_layers_of_the_autoencoder() -> None:
    shapes = {
        re.sub(r"^layers\.", "blocks.", key): shape
        for key, shape in shapes_of("vrwkv_base").items()
    }
    shapes |= {"mask_token": (1, 1, 512), "decoder_embed.weight": (512, 768)}
    found = identify(shapes, "a.pth")
    assert found.architecture == "vrwkv_base"
    assert "mask_token" in found.dropped


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("vrwkv_tiny", {"embed_dim": 48, "depth": 5, "patch_size": 8, "img_size": 64}),
        ("vrwkv_small", {"embed_dim": 256, "hidden_rate": 3, "in_channels": 4}),
        ("vrwkv6_tiny", {"embed_dim": 128, "mix_rank": 16, "decay_rank": 24}),
        (
            "vrwkv_adapter_tiny",
            {"embed_dim": 60, "deform_ratio": 0.7, "deform_num_heads": 3}
            | {"cffn_ratio": 0.3, "interactions": 3, "extra_extractors": 1},
        ),
        ("rwkv_unet_tiny", {"dims": (16, 24, 40, 56), "depths": (1, 2, 3, 1)}),
        ("restore_rwkv", {"dim": 16, "recurrence": 1, "in_channels": 2}),
        ("med_urwkv_nano", {"num_classes": 7, "decoder_dims": (64, 32, 16)}),
    ],
)
def test_other_sizes(name: str, config: dict[str, Any]) -> None:
    shapes = shapes_of(name, **config)
    found = identify(shapes, "a.pth")
    assert not found.certain and found.size == "custom"
    rebuilt = blank_network(model_config(found.architecture, **found.config))
    state = rebuilt.state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == shapes
    for key, value in config.items():
        got = found.config[key]
        expected = list(value) if isinstance(value, tuple) else value
        assert got == pytest.approx(expected) if "ratio" in key else got == expected


@pytest.mark.parametrize(
    ("name", "post"), [("vrwkv_tiny", False), ("vrwkv_small", True)]
)
def test_what_no_file_tells_is_named(name: str, post: bool) -> None:
    found = identify(shapes_of(name), "a.pth")
    assert found.config["post_norm"] is post
    assert "place of the norms in a block" in found.guessed


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        (["RiR_backbone.patch_embed.common_conv.0.weight"], "Zig-RiR"),
        (["model.RiR_backbone.patch_embed.common_conv.0.weight"], "Zig-RiR"),
        (["down11.CB2d.0.weight", "RWKV1.rwkv.blocks.0.att.x_r"], "SegRWKV"),
        (["vit.stages.0.rwkv.a", "encoder1.b"], "MMSegRWKV"),
        (["image_encoder.trunk.a", "sam_mask_decoder.b"], "RWKV-MedSAM2"),
        (
            [
                "encoder.stage0.0.conv_local.conv.weight",
                "ccm.channel.key.weight",
                "saliency_predictor.a",
            ],
            "SRWKV",
        ),
    ],
)
def test_known_but_not_supported(keys: list[str], title: str) -> None:
    with pytest.raises(CheckpointError, match=f"{title}, which is known"):
        identify(dict.fromkeys(keys, (4, 4)), "a.pth")


def test_published_key_lists_are_known(shared_reference: Any) -> None:
    for path in (shared_reference / "keys").glob("*.tsv"):
        pairs = [
            line.split("\t")
            for line in path.read_text().splitlines()
            if not line.startswith("#")
        ]
        shapes = {
            key: () if shape == "scalar" else tuple(map(int, shape.split("x")))
            for key, shape in pairs
        }
        if path.stem.startswith("zig"):
            with pytest.raises(CheckpointError, match="Zig-RiR"):
                identify(shapes, path.name)
        else:
            assert identify(shapes, path.name).certain, path.name


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"a.weight": (3, 3)}, "no known family"),
        ({}, "holds no tensors"),
        ({"layers.0.att.spatial_decay": (4,)}, "patch_embed.projection.weight"),
    ],
)
def test_others_are_refused(shapes: Shapes, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        identify(shapes, "a.pth")


@pytest.mark.parametrize(
    ("key", "shape", "said"),
    [
        ("pos_embed", (1, 195, 192), "no square"),
        ("patch_embed.projection.weight", (1_000_000, 3, 16, 16), "larger than any"),
        ("patch_embed.projection.weight", (192, 3), "4 dimensions belong"),
        ("patch_embed.projection.weight", (0, 3, 16, 16), "4 dimensions belong"),
        ("layers.0.ffn.key.weight", (5,), "2 dimensions belong"),
    ],
)
def test_shapes_that_no_network_has(
    key: str, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        identify(shapes_of("vrwkv_tiny") | {key: shape}, "a.pth")


def test_two_networks_in_one_file() -> None:
    shapes = shapes_of("vrwkv_tiny")
    both = shapes | {f"student.{key}": shape for key, shape in shapes.items()}
    with pytest.raises(CheckpointError, match="two networks"):
        identify(both, "a.pth")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("vrwkv_tiny", {"embed_dim": 36, "depth": 3, "shift_pixels": 0}),
        ("vrwkv_tiny", {"embed_dim": 20, "patch_size": 14, "img_size": 70}),
        ("vrwkv_adapter_tiny", {"embed_dim": 40, "deform_num_heads": 5, "depth": 6}),
        ("vrwkv_adapter_tiny", {"embed_dim": 36, "interactions": 1, "depth": 3}),
        ("vrwkv6_tiny", {"embed_dim": 128, "mix_rank": 16, "decay_rank": 8}),
        ("restore_rwkv", {"dim": 12, "recurrence": 3, "in_channels": 2}),
        (
            "rwkv_unet_tiny",
            {"dims": (12, 20, 28, 36), "depths": (2, 2, 3, 2), "stem_dim": 10},
        ),
        (
            "med_urwkv_nano",
            {"embed_dim": 48, "bottleneck_dim": 60, "decoder_dims": (40, 28, 20)},
        ),
    ],
)
def test_sizes_that_nobody_published_are_told_by_their_shapes(
    name: str, config: dict[str, Any]
) -> None:
    shapes = shapes_of(name, **config)
    found = identify(shapes, "a.pth")
    assert found.size == "custom"
    for key, value in config.items():
        told = found.config[key]
        assert (tuple(told) if isinstance(told, list) else told) == value
    rebuilt = blank_network(model_config(found.architecture, **found.config))
    state = {k: tuple(v.shape) for k, v in rebuilt.state_dict().items()}
    assert {k: state[k] for k in found.keys.values()} == {
        own: shapes[key] for key, own in found.keys.items()
    }


@pytest.mark.parametrize("before", ["layers.", "interactions."])
def test_more_blocks_than_any_network_has(before: str) -> None:
    shapes = shapes_of("vrwkv_adapter_tiny")
    shapes |= {f"{before}{n}.x{i}": (1,) for n in range(600) for i in range(40)}
    with pytest.raises(CheckpointError, match=rf"has 600 parts '{before}', more than"):
        identify(shapes, "a.pth")
