"""The user's own models, from any file to a name and away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_medurwkv.checkpoints import (
    catalogue,
    load_model,
    lookup,
    read_card,
    unusable,
)
from napari_medurwkv.checkpoints.answers import Answers
from napari_medurwkv.checkpoints.manage import add, convert, export, remove, rename
from napari_medurwkv.checkpoints.sidecar import Sidecar, sidecar_path, write_sidecar
from napari_medurwkv.errors import CheckpointError, OutputError

from .networks import published, small

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setattr(lookup, "user_folder", lambda: folder)
    monkeypatch.setattr(lookup, "embedded_folder", lambda: tmp_path / "none")
    return folder


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    path = tmp_path / "My Net.pth"
    torch.save({"state_dict": published(small("rwkv_unet"))}, path)
    return path


def test_a_foreign_file_is_added_with_its_answers(foreign: Path, folder: Path) -> None:
    answers = Answers(classes=("background", "liver", "spleen"))
    entry = add(foreign, answers)
    assert entry.path == folder / "my-net.safetensors" and entry.name == "my-net"
    model = load_model("my-net")
    assert [c.name for c in model.card.foreground] == ["liver", "spleen"]
    expected = small("rwkv_unet").state_dict()
    for key, value in model.network.state_dict().items():
        assert torch.equal(value, expected[key]) or key.endswith("tracked")
    assert foreign.exists()
    with pytest.raises(CheckpointError, match="a model 'my-net' already"):
        add(foreign)
    assert add(foreign, name="other").name == "other"


def test_a_file_of_ours_is_copied(checkpoint: Path, folder: Path) -> None:
    entry = add(checkpoint)
    assert entry.path.read_bytes() == checkpoint.read_bytes()
    named = add(checkpoint, name="second")
    assert read_card(named.path).name == "second"
    assert {e.name for e in catalogue()} == {"tiny", "second"}
    assert load_model("second").card.title == "Tiny"


def test_rename_and_remove(checkpoint: Path, folder: Path) -> None:
    add(checkpoint)
    entry = rename("tiny", "small.1")
    assert (entry.name, entry.path.name) == ("small.1", "small.1.safetensors")
    assert [e.name for e in catalogue()] == ["small.1"]
    load_model("small.1")
    with pytest.raises(CheckpointError, match="no name for a model"):
        rename("small.1", "Big One")
    assert remove("small.1") == entry.path
    assert catalogue() == () and not entry.path.exists()
    with pytest.raises(CheckpointError, match=r"no model 'small\.1'"):
        remove("small.1")


def test_a_file_with_a_sidecar_in_the_folder(foreign: Path, folder: Path) -> None:
    folder.mkdir()
    inside = folder / "net.pth"
    inside.write_bytes(foreign.read_bytes())
    assert "has no model card" in str(unusable()[0])
    from napari_medurwkv.checkpoints.examine import examine

    card = examine(inside).card
    assert card is not None
    write_sidecar(inside, Sidecar(card=card))
    assert [e.name for e in catalogue()] == ["net"] and unusable() == ()
    load_model("net")
    entry = rename("net", "better")
    assert entry.path == folder / "better.pth"
    assert {p.name for p in folder.iterdir()} == {
        "better.pth",
        "better.pth.medurwkv.json",
    }
    remove("better")
    assert not sidecar_path(entry.path).exists()


def test_what_is_not_the_users_stays(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "embedded_folder", lambda: checkpoint.parent)
    for change in (remove, lambda name: rename(name, "other")):
        with pytest.raises(CheckpointError, match="came with the package"):
            change("tiny")
    assert checkpoint.exists()


def test_export(foreign: Path, checkpoint: Path, tmp_path: Path) -> None:
    add(checkpoint)
    target = tmp_path / "out"
    target.mkdir()
    written = export("tiny", target)
    assert written == target / "tiny.safetensors"
    assert written.read_bytes() == checkpoint.read_bytes()
    with pytest.raises(OutputError, match="there already"):
        export("tiny", target)
    export("tiny", target, overwrite=True)


def test_convert(foreign: Path, tmp_path: Path) -> None:
    target = convert(foreign, tmp_path / "a.safetensors", dtype="float16")
    card = read_card(target)
    assert card.architecture.startswith("rwkv_unet_") and card.config["segments"] == 32
    assert target.stat().st_size < 0.7 * foreign.stat().st_size
    given = card.model_copy(update={"name": "mine", "title": "Mine"})
    again = convert(foreign, tmp_path / "b.safetensors", card=given)
    assert read_card(again).title == "Mine"
    with pytest.raises(OutputError, match="there already"):
        convert(foreign, target)
    with pytest.raises(CheckpointError, match=r"ends in \.safetensors"):
        convert(foreign, tmp_path / "c.pth")


def test_an_encoder_is_converted_without_a_card(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    path = tmp_path / "net.pth"
    torch.save(published(small("adapter")), path)
    target = convert(path, tmp_path / "net.safetensors")
    assert load_file(target)["level_embed"].shape == (3, 16)
    with pytest.raises(CheckpointError, match="gives features"):
        add(path)


def test_a_card_of_another_network(foreign: Path, tmp_path: Path, card: object) -> None:
    with pytest.raises(CheckpointError, match="do not fit"):
        convert(foreign, tmp_path / "a.safetensors", card=card)  # type: ignore[arg-type]


def test_answers_do_not_contradict_a_card_in_silence(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="has a model card that answers"):
        convert(checkpoint, tmp_path / "a.safetensors", Answers(patch_size=32))
    with pytest.raises(CheckpointError, match="has a model card that answers"):
        add(checkpoint, Answers(patch_size=32))
    card = read_card(checkpoint).model_copy(update={"patch_size": (32, 32)})
    changed = convert(checkpoint, tmp_path / "b.safetensors", card=card)
    assert read_card(changed).patch_size == (32, 32)
