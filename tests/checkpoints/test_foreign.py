"""Files of every family, in every style that programs save them in."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from napari_medurwkv.checkpoints import load_model
from napari_medurwkv.checkpoints.answers import Answers
from napari_medurwkv.checkpoints.examine import examine
from napari_medurwkv.checkpoints.load import examine_closely, load_network
from napari_medurwkv.checkpoints.lookup import find
from napari_medurwkv.checkpoints.sidecar import Sidecar, write_sidecar
from napari_medurwkv.errors import CheckpointError

from .networks import SMALL, STYLES, published, small

if TYPE_CHECKING:
    from pathlib import Path


def saved(folder: Path, family: str, style: str = "bare") -> tuple[Path, Any]:
    network = small(family)
    path = folder / "net.pth"
    torch.save(STYLES[style](published(network)), path)
    return path, network


def image_for(network: Any) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(1, network.config.in_channels, 32, 48)


def outputs(network: Any) -> list[torch.Tensor]:
    # The operator's published variants are compared elsewhere.
    for module in network.modules():
        if hasattr(module, "segments"):
            module.segments = 0
    with torch.inference_mode():
        found = network(image_for(network))
    return [found] if isinstance(found, torch.Tensor) else list(found)


# What each adds to a key is tested for every size in test_identify.py.
EVERY = [(family, style) for family in SMALL for style in ("bare", "mm", "half")]
OTHERS = [
    (family, style)
    for family in ("vrwkv classifier", "rwkv_unet")
    for style in STYLES
    if (family, style) not in EVERY
]


@pytest.mark.parametrize(("family", "style"), EVERY + OTHERS)
def test_families_and_styles(tmp_path: Path, family: str, style: str) -> None:
    path, network = saved(tmp_path, family, style)
    loaded = load_network(path)
    assert loaded.examination.identity.config["segments"] == SMALL[family][1].get(
        "segments", 0
    )
    state = loaded.network.state_dict()
    assert list(state) == list(network.state_dict())
    for key, value in network.state_dict().items():
        if style == "half" and value.is_floating_point():
            # What is computed from the others is computed from the rounded ones.
            if not key.endswith("reparam.weight"):
                assert torch.equal(state[key], value.half().float()), key
        elif not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(state[key], value)
    assert all(v.dtype == torch.float32 for v in state.values() if v.dim())
    if style in ("bare", "averages beside raw"):
        for mine, theirs in zip(outputs(loaded.network), outputs(network), strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("family", SMALL)
def test_safetensors_without_a_card(tmp_path: Path, family: str) -> None:
    network = small(family)
    path = tmp_path / "net.safetensors"
    save_file(published(network), path)
    loaded = load_network(path)
    assert loaded.examination.format == "safetensors"
    assert all(
        torch.equal(loaded.network.state_dict()[key], value)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    )


@pytest.mark.parametrize("family", SMALL)
def test_a_wrong_tensor_is_named(tmp_path: Path, family: str) -> None:
    state = published(small(family))
    path = tmp_path / "net.pth"
    # The last of the matrices that are needed is not what the family is known by.
    key = [k for k, v in state.items() if v.dim() == 2 and "reparam" not in k][-1]
    bare = {k: v for k, v in state.items() if k != key}
    for look in (load_network, examine_closely):
        torch.save(bare, path)
        with pytest.raises(CheckpointError, match=rf"{key}\W.*missing|missing.*{key}"):
            look(path)
        torch.save(state | {key: state[key][:, :-1].clone()}, path)
        with pytest.raises(CheckpointError, match=rf"{key}.* (shape|belong)"):
            look(path)
        torch.save(state | {"layers.0.surplus": torch.ones(2)}, path)
        with pytest.raises(
            CheckpointError, match=r"layers\.0\.surplus.* is unexpected"
        ):
            look(path)


# By these a family, a size or a variant is known, so that they are easily mistaken.
TELLING = (
    "layers.0.att.spatial_decay",
    "layers.0.att.time_maa_x",
    "layers.0.att.key_norm.weight",
    "layers.0.gamma1",
    "layers.0.ln1.weight",
    "layers.1.ln1.weight",
    "patch_embed.projection.weight",
    "pos_embed",
    "interactions.0.injector.gamma",
    "interactions.1.injector.gamma",
    "interactions.1.extra_extractors.1.query_norm.weight",
    "auxiliary_head.conv_seg.weight",
    "decode_head.conv_seg.weight",
    "bottleneck.blocks.0.ln1.weight",
    "decoder.stage2.blocks.0.ln1.weight",
    "stage0.0.conv_local.conv.weight",
    "stage1.0.proj.conv.weight",
    "stage1.0.ln2.weight",
    "encoder_level1.0.att.omni_shift.alpha",
    "refinement.0.ln1.weight",
)


@pytest.mark.parametrize("family", SMALL)
def test_a_tensor_that_tells_the_family_is_named_when_it_is_gone(
    tmp_path: Path, family: str
) -> None:
    state = published(small(family))
    telling = [key for key in state if key.endswith(TELLING)]
    assert telling
    for key in telling:
        path = tmp_path / "net.pth"
        torch.save({k: v for k, v in state.items() if k != key}, path)
        with pytest.raises(CheckpointError, match=rf"{re.escape(key)}\W.*missing"):
            examine_closely(path)


VITS = ("patch_embed.projection.weight", "pos_embed", "layers.0.ln1.weight")
UNETS = ("stage0.0.proj.conv.weight", "stage4.0.proj.conv.weight")


@pytest.mark.parametrize(
    ("family", "key"),
    [(name, key) for name in ("vrwkv", "upernet", "med_urwkv") for key in VITS]
    + [("rwkv_unet", key) for key in (*UNETS, "stage4.1.conv.conv.weight")]
    + [("restore_rwkv", "patch_embed.weight")],
)
def test_a_width_that_differs_is_told_by_the_others(
    tmp_path: Path, family: str, key: str
) -> None:
    state = published(small(family))
    full = next(k for k in state if k.endswith(key))
    axis = 2 if key == "pos_embed" else 0
    state[full] = torch.cat([state[full], state[full]], axis)
    path = tmp_path / "net.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=rf"{key}' has shape .* belongs"):
        examine_closely(path)


@pytest.mark.parametrize("averaged", [None, True, False])
def test_averages_or_raw(tmp_path: Path, averaged: bool | None) -> None:
    path, _ = saved(tmp_path, "vrwkv", "averages beside raw")
    loaded = load_network(path, Answers(averaged=averaged))
    total = sum(float(v.abs().sum()) for v in loaded.network.state_dict().values())
    assert (total == 0) == (averaged is False)
    assert loaded.examination.averaged is (averaged is not False)
    container = "model" if averaged is False else "model_ema.module"
    assert loaded.examination.container == container


def test_averages_that_are_not_there(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "vrwkv")
    with pytest.raises(CheckpointError, match="no moving averages"):
        load_network(path, Answers(averaged=True))


def test_what_was_unwrapped_is_told(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "upernet", "mm")
    found = examine(path)
    assert found.container == "state_dict"
    assert found.left_out == ("meta",)
    assert found.identity.stripped == ("backbone.",)
    assert found.identity.dropped
    assert all(k.endswith("num_batches_tracked") for k in found.identity.dropped)


def test_a_segmentation_network_gets_a_card(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "rwkv_unet")
    model = load_model(path)
    card = model.card
    assert (card.name, card.task, card.dimensions) == ("net", "segmentation", 2)
    assert [c.name for c in card.classes] == ["background", "class 1", "class 2"]
    assert (card.repeat_grey, card.network_channels) == (True, 3)
    assert (card.intensity.scale, card.intensity.low) == ("percentile", 0)
    assert card.config["segments"] == 32
    assert card.patch_size == (224, 224)
    names = [question.name for question in examine(path).open_questions]
    assert names == [
        "channels",
        "intensity",
        "activation",
        "classes",
        "patch_size",
        "dimensions",
    ]


def test_vision_networks_take_the_intensities_of_imagenet(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "upernet")
    card = load_model(path).card
    assert card.intensity.channel_mean == (0.485, 0.456, 0.406)
    assert card.intensity.channel_std == (0.229, 0.224, 0.225)
    # Trained without a background.
    assert [c.value for c in card.classes] == [1, 2, 3, 4]
    assert card.patch_size == (512, 512)


def test_a_restoration_network_has_its_own_kind_of_card(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "restore_rwkv")
    card = load_model(path).card
    assert (card.task, card.activation, card.classes) == ("restoration", "none", ())


@pytest.mark.parametrize("family", ["vrwkv classifier", "adapter"])
def test_encoders_and_classifiers_give_no_mask(tmp_path: Path, family: str) -> None:
    path, _ = saved(tmp_path, family)
    with pytest.raises(CheckpointError, match=r"no mask.*medurwkv train"):
        load_model(path)
    assert examine(path).card is None


def test_answers_are_taken(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "upernet")
    answers = Answers(
        norms="after",
        channels=("grey",),
        intensity="-125, 275",
        classes=("background", "liver", "spleen", "kidney"),
        patch_size=64,
        dimensions=3,
        segments=0,
    )
    found = examine(path, answers)
    card = found.card
    assert card is not None
    assert card.config["post_norm"] is True and card.config["segments"] == 0
    assert card.repeat_grey and card.network_channels == 3
    assert (card.intensity.low, card.intensity.high) == (-125, 275)
    assert [c.name for c in card.foreground] == ["liver", "spleen", "kidney"]
    assert (card.dimensions, card.slice_axis, card.patch_size) == (3, 0, (64, 64))
    assert [q.name for q in found.open_questions] == ["activation"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (Answers(classes=("a", "b")), "has 4 outputs, not 2"),
        (Answers(intensity="bright"), "no way to scale"),
        (Answers(channels=("a", "b")), "takes 3 channels, not 2"),
        (Answers(classes=("a", "a", "b", "c")), "share one name"),
    ],
)
def test_answers_that_contradict_the_network(
    tmp_path: Path, answers: Answers, said: str
) -> None:
    path, _ = saved(tmp_path, "upernet")
    with pytest.raises(CheckpointError, match=said):
        load_network(path, answers)


def test_channels_that_nobody_named_are_asked_for(tmp_path: Path) -> None:
    from napari_medurwkv.models import create_model

    network = create_model("upernet_vrwkv_tiny", **SMALL["upernet"][1], in_channels=4)
    path = tmp_path / "net.pth"
    torch.save(published(network), path)
    with pytest.raises(CheckpointError, match=r"4 channels.*--channels"):
        load_model(path)
    names = ("T1", "T1c", "T2", "FLAIR")
    card = examine(path, Answers(channels=names)).card
    assert card is not None and tuple(c.name for c in card.channels) == names


def test_a_sidecar_answers_for_good(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "rwkv_unet", "averages beside raw")
    answers = Answers(classes=("background", "a", "b"), averaged=False)
    card = examine(path, answers).card
    assert card is not None
    write_sidecar(path, Sidecar(card=card, averaged=False))
    model = load_model(path)
    assert [c.name for c in model.card.classes] == ["background", "a", "b"]
    assert not any(p.any() for p in model.network.parameters())  # the raw weights
    found = examine(path)
    assert (found.card_from, found.open_questions) == ("sidecar", ())
    assert find(path).card == card


def test_a_sidecar_that_is_broken(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "rwkv_unet")
    (tmp_path / "net.medurwkv.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"net\.medurwkv\.json is not valid"):
        load_model(path)


def test_a_known_file_needs_no_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_medurwkv.checkpoints import examine as examine_module
    from napari_medurwkv.checkpoints.digest import file_digest
    from napari_medurwkv.checkpoints.public import public_checkpoint

    path, _ = saved(tmp_path, "upernet")
    entry = public_checkpoint("upernet-vrwkv-tiny-ade20k").model_copy(
        update={"sha256": file_digest(path), "size_bytes": path.stat().st_size}
    )
    from napari_medurwkv.checkpoints import public

    monkeypatch.setattr(public, "public_checkpoints", lambda: (entry,))
    assert examine_module.known_file is public.known_file
    found = examine(path)
    assert (found.card_from, found.open_questions) == ("known file", ())
    assert found.card is not None and found.card.licence == "Apache-2.0"
    with path.open("ab") as file:
        file.write(b"x")
    assert public.known_file(path) is None


def test_program_parts_are_left_out_on_request_only(tmp_path: Path) -> None:
    network = small("rwkv_unet")
    path = tmp_path / "net.ckpt"
    content = {"state_dict": published(network), "args": Namespace(lr=1, path=path)}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace.*--tensors-only"):
        load_network(path)
    loaded = load_network(path, tensors_only=True)
    assert torch.equal(
        loaded.network.state_dict()["final_conv.bias"], network.final_conv.bias
    )
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace"):
        load_network(path)  # nothing was left allowed


def test_what_holds_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    for content, said in (
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "holds no weights"),
        ({"model": {"lr": 1.0}}, "holds no weights"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=said):
            load_network(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "nope"}, "There is no model 'nope'"),
        ({"architecture": "med_urwkv_tiny"}, "MedURWKVConfig has no"),
        ({"output_values": [0, 1], "classes": []}, "2 output values"),
    ],
)
def test_a_sidecar_that_contradicts_its_network_is_told_by_looking(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "net.pth"
    torch.save(published(small("rwkv_unet")), path)
    card = examine(path).card
    assert card is not None
    fields = card.model_dump(mode="json")
    if "classes" in change:
        kept = fields["classes"][:2]
        change = {"output_values": [c["value"] for c in kept], "classes": kept}
    (tmp_path / "net.medurwkv.json").write_text(json.dumps(fields | change))
    with pytest.raises(CheckpointError, match=said):
        examine(path)


def test_a_sidecar_of_another_size_is_told_without_loading(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "rwkv_unet")
    card = examine(path).card
    assert card is not None
    assert examine_closely(path).card == card
    dims = [2 * width for width in card.config["dims"]]
    write_sidecar(
        path,
        Sidecar(card=card.model_copy(update={"config": card.config | {"dims": dims}})),
    )
    with pytest.raises(CheckpointError, match=r"stage1\.0.* has shape .* belongs"):
        examine_closely(path)


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("upernet", {"depth": 4096}),
        ("upernet", {"depth": 4096, "interactions": 4096}),
        ("upernet", {"extra_extractors": 4096}),
        ("rwkv_unet", {"depths": [4096] * 4}),
        ("restore_rwkv", {"refinement": 4096}),
        ("med_urwkv", {"decoder_depths": [4096] * 3}),
    ],
)
def test_a_card_of_thousands_of_blocks_is_not_built(
    tmp_path: Path, family: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = saved(tmp_path, family)
    card = examine(path).card
    assert card is not None
    write_sidecar(
        path, Sidecar(card=card.model_copy(update={"config": card.config | change}))
    )

    def refuse(config: Any) -> Any:
        raise AssertionError("built")

    monkeypatch.setattr("napari_medurwkv.checkpoints.fit.blank_network", refuse)
    for look in (load_model, examine_closely):
        with pytest.raises(CheckpointError, match=r"of \d{4,} parts, and the file has"):
            look(path)


def test_a_window_without_a_side_is_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "rwkv_unet")
    with pytest.raises(CheckpointError, match="greater than or equal to 1"):
        examine(path, Answers(patch_size=0))
