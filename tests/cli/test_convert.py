"""Any checkpoint on the command line: inspect, convert, add, rename, remove, export."""

from __future__ import annotations

import json

import pytest
import torch

from napari_medurwkv.checkpoints import lookup, read_card
from napari_medurwkv.models import create_model

UNET = {"dims": (8, 8, 12, 16), "depths": (2, 2, 2, 2), "num_classes": 3}


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "user_folder", lambda: tmp_path / "models")
    path = tmp_path / "net.pth"
    network = create_model("rwkv_unet_tiny", **UNET)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"model": state, "epoch": 3}, path)
    return path


def test_inspect_says_what_is_known_and_what_is_not(medurwkv, foreign):
    document = json.loads(medurwkv("inspect", foreign, "--json").stdout)
    assert document["family"] == "RWKV-UNet, custom"
    assert (document["task"], document["outputs"]) == ("segmentation", 3)
    assert (document["segments"], document["card_from"]) == (32, "assumed")
    assert (document["container"], document["stripped"]) == ("model", ["module."])
    assert "epoch" in document["left_out"]
    assert document["card"]["config"]["segments"] == 32
    asked = {doubt["name"]: doubt["assumed"] for doubt in document["uncertain"]}
    assert asked["classes"] == "background, class 1, class 2"
    assert asked["intensity"] == "unit"
    text = medurwkv("inspect", foreign).stdout
    for words in (
        "RWKV-UNet, custom",
        document["sha256"],
        f"{document['parameters']:,} in",
        "as in kernels of 32 segments",
        "What are the image's channels? Assumed: grey",
    ):
        assert words in text


def test_inspect_an_encoder(medurwkv, tmp_path):
    path = tmp_path / "encoder.pth"
    network = create_model("vrwkv_tiny", img_size=32, embed_dim=16, depth=2)
    torch.save(network.state_dict(), path)
    text = medurwkv("inspect", path).stdout
    assert "an encoder to start from, no mask" in text
    assert "Where does a block normalise" in text
    document = json.loads(medurwkv("inspect", path, "--json").stdout)
    assert document["card"] is None and document["task"] == "features"


def test_convert_answers_for_good(medurwkv, foreign, tmp_path):
    target = tmp_path / "out.safetensors"
    said = medurwkv(
        "convert",
        foreign,
        target,
        "--classes",
        "background, liver, spleen",
        "--intensity=-125,275",
        "--patch-size",
        "64",
    ).stderr
    assert "net.pth is a RWKV-UNet, custom; wrote" in said
    assert "Assumed: What are the image's channels? grey" in said
    assert "What are the outputs called" not in said
    card = read_card(target)
    assert [c.name for c in card.foreground] == ["liver", "spleen"]
    assert (card.intensity.low, card.patch_size) == (-125, (64, 64))
    document = json.loads(medurwkv("inspect", target, "--json").stdout)
    assert (document["card_from"], document["uncertain"]) == ("file", [])
    answer = medurwkv("convert", foreign, target, code=1)
    assert "is there already" in answer.stderr


def test_convert_with_a_card(medurwkv, foreign, tmp_path):
    first = tmp_path / "first.safetensors"
    medurwkv("convert", foreign, first, "--half")
    fields = json.loads(medurwkv("inspect", first, "--json").stdout)["card"]
    card = tmp_path / "card.json"
    card.write_text(json.dumps(fields | {"title": "Mine", "licence": "CC-BY-4.0"}))
    second = tmp_path / "second.safetensors"
    said = medurwkv("convert", foreign, second, "--card", card).stderr
    assert "Assumed" not in said
    assert read_card(second).licence == "CC-BY-4.0"


def test_add_rename_export_remove(medurwkv, foreign, tmp_path):
    said = medurwkv("models", "add", foreign, "--name", "mine").stderr
    assert "Added mine" in said and "Assumed: " in said
    names = [
        entry["name"]
        for entry in json.loads(medurwkv("models", "--json").stdout)["models"]
    ]
    assert "mine" in names
    assert "now yours" in medurwkv("models", "rename", "mine", "yours").stderr
    target = tmp_path / "passed-on.safetensors"
    said = medurwkv("models", "export", "yours", target).stderr
    assert target.exists() and "Licence of its weights: unknown" in said
    assert "Deleted" in medurwkv("models", "remove", "yours").stderr
    assert "no model 'yours'" in medurwkv("models", "remove", "yours", code=1).stderr


def test_public_ones_are_listed_with_their_licences(medurwkv):
    entries = json.loads(medurwkv("models", "public", "--json").stdout)
    assert len(entries) == 20
    text = medurwkv("models", "public").stdout
    assert "vrwkv-tiny-in1k" in text and "none stated" in text


def test_get_shows_the_licence_first(medurwkv, foreign):
    answer = medurwkv("models", "get", "rwkv-unet-encoder-tiny", code=1)
    assert answer.stderr.startswith("net_T.pth is by")
    assert "--accept-licence" in answer.stderr
    answer = medurwkv("models", "get", "vrwkv-tiny-in1k", "--offline", code=1)
    assert "is not on this computer" in answer.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [("--norms", "beside"), ("--weights", "x"), ("--dimensions", 4)],
)
def test_answers_that_mean_nothing(medurwkv, foreign, tmp_path, option, value):
    target = tmp_path / "out.safetensors"
    answer = medurwkv("convert", foreign, target, option, value, code=2)
    assert option in answer.stderr
    assert not target.exists()


def test_segmenting_with_an_unknown_file_says_what_was_assumed(
    medurwkv, foreign, tmp_path
):
    import imageio.v3 as iio
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 255, (40, 56), np.uint8)
    iio.imwrite(tmp_path / "a.png", picture)
    mask = tmp_path / "mask.png"
    said = medurwkv(
        "segment", tmp_path / "a.png", mask, "--model", foreign, "--device", "cpu"
    ).stderr
    assert "net.pth has no model card; it is a RWKV-UNet, custom." in said
    assert "Assumed: What are the image's channels? grey" in said
    assert iio.imread(mask).shape == picture.shape
