"""What is saved is complete, the same every time, and never a damaged file."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

from napari_medurwkv.checkpoints import ModelCard, read_card, save_checkpoint
from napari_medurwkv.checkpoints.files import _canonical
from napari_medurwkv.errors import CheckpointError, OutputError
from napari_medurwkv.models import model_config

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.models import MedURWKV


def test_tensors_are_stored_in_half_precision(
    checkpoint: Path, network: MedURWKV
) -> None:
    with safe_open(checkpoint, "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}
        assert file.metadata()["format"] == "pt"
    state = network.state_dict()
    assert stored.keys() == state.keys()
    kinds = {tensor.dtype for tensor in state.values()}
    assert torch.int64 in kinds  # batch counters of the stem: kept as they are
    for key, tensor in state.items():
        expected = tensor.half() if tensor.is_floating_point() else tensor
        assert stored[key].dtype == expected.dtype
        torch.testing.assert_close(stored[key], expected, rtol=0, atol=0)


def test_full_precision(tmp_path: Path, network: MedURWKV, card: ModelCard) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, network, card, dtype="float32")
    with safe_open(path, "pt") as file:
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(file.get_tensor(key), tensor, rtol=0, atol=0)


def test_card_in_the_file_holds_the_whole_configuration(
    checkpoint: Path, card: ModelCard
) -> None:
    stored = read_card(checkpoint)
    config = model_config(card.architecture, **card.config)
    assert stored.config == config.to_dict()
    assert len(stored.config) > len(card.config)
    assert stored.model_copy(update={"config": card.config}) == card


def test_same_content_same_bytes(
    tmp_path: Path, network: MedURWKV, card: ModelCard, saved: bytes
) -> None:
    again = save_checkpoint(tmp_path / "tiny.safetensors", network, card)
    assert again.read_bytes() == saved
    assert int.from_bytes(saved[:8], "little") % 8 == 0


def test_metadata_have_one_order() -> None:
    # The library orders them by a hash that differs from call to call.
    tensors = {"a": torch.ones(3), "b": torch.ones(1)}
    metadata = {name: name for name in "zyx"}
    contents = {_canonical(save(tensors, metadata)) for _ in range(20)}
    assert len(contents) == 1
    loaded = load(contents.pop())
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


def test_network_is_not_changed(
    tmp_path: Path, network: MedURWKV, card: ModelCard
) -> None:
    before = copy.deepcopy(network.state_dict())
    save_checkpoint(tmp_path / "a.safetensors", network, card)
    for key, tensor in network.state_dict().items():
        assert tensor.dtype == before[key].dtype
        assert torch.equal(tensor, before[key])


def test_what_does_not_fit_half_precision(
    tmp_path: Path, network: MedURWKV, card: ModelCard
) -> None:
    large = copy.deepcopy(network)
    with torch.no_grad():
        large.head.weight[0] = 1e5
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match=r"infinity.* float16, in head\.weight\."):
        save_checkpoint(path, large, card)
    assert list(tmp_path.iterdir()) == []
    save_checkpoint(path, large, card, dtype="float32")
    with torch.no_grad():
        large.head.weight[0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        save_checkpoint(path, large, card, dtype="float32")


def test_card_of_another_network(
    tmp_path: Path, network: MedURWKV, fields: dict[str, Any]
) -> None:
    path = tmp_path / "a.safetensors"
    other = fields | {"config": fields["config"] | {"final_dim": 16}}
    with pytest.raises(CheckpointError, match=r"another network.*final_dim=16"):
        save_checkpoint(path, network, ModelCard.model_validate(other))
    with pytest.raises(CheckpointError, match="another network"):
        save_checkpoint(path, network.head, ModelCard.model_validate(fields))
    assert not path.exists()


def test_altered_network(tmp_path: Path, network: MedURWKV, card: ModelCard) -> None:
    altered = copy.deepcopy(network)
    altered.head = torch.nn.Conv2d(8, 4, 1)
    with pytest.raises(CheckpointError, match=r"head\.bias has shape \(4,\) where \(3"):
        save_checkpoint(tmp_path / "a.safetensors", altered, card)


def test_card_that_was_never_validated(
    tmp_path: Path, network: MedURWKV, card: ModelCard
) -> None:
    forged = card.model_copy(update={"title": ""})
    with pytest.raises(CheckpointError, match=r"not valid: title: "):
        save_checkpoint(tmp_path / "a.safetensors", network, forged)


def test_name_ends_in_safetensors(
    tmp_path: Path, network: MedURWKV, card: ModelCard
) -> None:
    with pytest.raises(CheckpointError, match=r"ends in \.safetensors"):
        save_checkpoint(tmp_path / "a.pth", network, card)


def test_folder_that_does_not_exist(
    tmp_path: Path, network: MedURWKV, card: ModelCard
) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_checkpoint(tmp_path / "none" / "a.safetensors", network, card)


def test_old_file_outlives_a_failure(
    checkpoint: Path,
    network: MedURWKV,
    card: ModelCard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = checkpoint.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        save_checkpoint(checkpoint, network, card, dtype="float32")
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_what_comes_back_is_compared(
    checkpoint: Path,
    network: MedURWKV,
    card: ModelCard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = checkpoint.read_bytes()
    path_type = type(checkpoint)
    write = path_type.write_bytes
    monkeypatch.setattr(path_type, "write_bytes", lambda p, data: write(p, data[:-1]))
    with pytest.raises(OutputError, match="did not come back"):
        save_checkpoint(checkpoint, network, card, dtype="float32")
    assert checkpoint.read_bytes() == before


def test_read_card_imports_no_torch(checkpoint: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from napari_medurwkv.checkpoints import read_card, catalogue, find;"
        "catalogue(); name = read_card(Path(sys.argv[1])).name;"
        "print(name, find(sys.argv[1]).sha256);"
        "heavy = {'torch', 'safetensors', 'napari', 'qtpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, checkpoint], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny ")


def test_no_card(rewrite: Any) -> None:
    path = rewrite(lambda header: header["__metadata__"].pop("medurwkv.card"))
    with pytest.raises(CheckpointError, match="has no model card"):
        read_card(path)


def test_card_that_is_no_json(rewrite: Any) -> None:
    path = rewrite(lambda h: h["__metadata__"].update({"medurwkv.card": "{"}))
    with pytest.raises(CheckpointError, match="Invalid JSON"):
        read_card(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '"\\ud800"', "[]", "null", "\ud800"])
def test_odd_cards(rewrite: Any, text: str) -> None:
    path = rewrite(lambda h: h["__metadata__"].update({"medurwkv.card": text}))
    with pytest.raises(CheckpointError, match="is not valid"):
        read_card(path)


def test_card_with_a_wrong_field(recard: Any) -> None:
    path = recard(lambda card: card["classes"][1].update(color="orange"))
    with pytest.raises(CheckpointError, match=r"not valid: classes\.1\.color: "):
        read_card(path)


def test_card_of_a_newer_version(recard: Any) -> None:
    path = recard(lambda card: card.update(format=2, something=json.loads("[1]")))
    with pytest.raises(CheckpointError, match=r"format 2, which is newer.*update it"):
        read_card(path)
