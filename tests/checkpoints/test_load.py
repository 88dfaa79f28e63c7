"""Loading gives back the network, or names everything that does not fit."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import napari_medurwkv.models as models_module
from napari_medurwkv.checkpoints import (
    Model,
    ModelCard,
    fit,
    load_model,
    save_checkpoint,
)
from napari_medurwkv.checkpoints import load as load_module
from napari_medurwkv.checkpoints import weights as weights_module
from napari_medurwkv.checkpoints.fit import StateInfo, check_tensors
from napari_medurwkv.errors import CheckpointError, CheckpointWarning
from napari_medurwkv.models import build_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medurwkv.models import MedURWKV

    Retensor = Callable[[Callable[[dict[str, torch.Tensor]], None]], Path]


@pytest.fixture
def retensor(checkpoint: Path) -> Retensor:
    """Change the tensors of the checkpoint."""

    def change(edit: Callable[[dict[str, torch.Tensor]], None]) -> Path:
        data = checkpoint.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        tensors = load_file(checkpoint)
        edit(tensors)
        save_file(tensors, checkpoint, header["__metadata__"])
        return checkpoint

    return change


def test_round_trip(checkpoint: Path, network: MedURWKV) -> None:
    model = load_model(checkpoint)
    assert isinstance(model, Model)
    assert model.path == checkpoint
    assert model.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert model.card.name == "tiny"
    assert not any(module.training for module in model.network.modules())
    assert type(model.network) is type(network)
    state = model.network.state_dict()
    for key, tensor in network.state_dict().items():
        assert state[key].device.type == "cpu"
        assert state[key].dtype == tensor.dtype
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(state[key], expected)


def test_loaded_network_computes_what_the_saved_one_did(
    checkpoint: Path, network: MedURWKV
) -> None:
    rounded = build_model(network.config)
    rounded.load_state_dict(
        {
            key: t.half().float() if t.is_floating_point() else t
            for key, t in network.state_dict().items()
        }
    )
    image = torch.randn(1, 3, 32, 21, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = rounded.eval()(image)
        torch.testing.assert_close(load_model(str(checkpoint)).network(image), expected)


def test_parameters_can_be_trained_on(checkpoint: Path) -> None:
    model = load_model(checkpoint)
    assert all(p.requires_grad and p.is_leaf for p in model.network.parameters())
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(1)  # memory of its own, and writable


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_other_floating_types_become_float32(
    retensor: Retensor, dtype: torch.dtype
) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors["head.bias"] = tensors["head.bias"].to(dtype)

    state = load_model(retensor(edit)).network.state_dict()
    assert state["head.bias"].dtype == torch.float32


def test_missing_unexpected_and_misshapen_tensors_are_named(retensor: Retensor) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["head.weight"]
        tensors["extra"] = torch.zeros(2)
        tensors["head.bias"] = torch.zeros(5)
        counter = next(key for key in tensors if key.endswith("num_batches_tracked"))
        tensors[counter] = tensors[counter].int()

    with pytest.raises(CheckpointError) as caught:
        load_model(retensor(edit))
    text = str(caught.value)
    assert "tiny.safetensors do not fit its architecture med_urwkv_nano" in text
    assert "head.weight is missing" in text
    assert "'extra' is unexpected" in text
    assert "head.bias has shape (5,) where (3,) belongs" in text
    assert "num_batches_tracked holds int32 where int64 belongs" in text


def test_integers_where_floats_belong(retensor: Retensor) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors["head.bias"] = tensors["head.bias"].int()

    with pytest.raises(
        CheckpointError, match=r"head\.bias holds int32 where floating point belongs"
    ):
        load_model(retensor(edit))


def test_long_lists_are_counted(retensor: Retensor) -> None:
    removed = 0

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        nonlocal removed
        for key in [key for key in tensors if key.startswith("decoder.")]:
            del tensors[key]
            removed += 1

    with pytest.raises(CheckpointError) as caught:
        load_model(retensor(edit))
    assert str(caught.value).count("is missing") == 10
    assert f"and {removed - 10} more" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(retensor: Retensor, value: float) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors["head.bias"][1] = value

    path = retensor(edit)
    with pytest.raises(CheckpointError, match=r"NaN or infinity in head\.bias:"):
        load_model(path)
    with pytest.warns(CheckpointWarning, match=r"NaN or infinity in head\.bias\."):
        model = load_model(path, accept_nonfinite=True)
    assert not model.network.head.bias.isfinite().all()


def test_large_values_are_not_taken_for_infinite(
    tmp_path: Path, network: Any, card: ModelCard
) -> None:
    path = tmp_path / "large.safetensors"
    large = copy.deepcopy(network)
    large.head.bias.data.fill_(3e38)  # each is finite, their sum is not
    load_model(save_checkpoint(path, large, card, dtype="float32"))


def test_stored_float32_is_mapped_not_copied(
    tmp_path: Path, network: Any, card: ModelCard
) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", network, card, dtype="float32")
    weights = [p.data_ptr() for p in load_model(path).network.parameters()]
    # All of them lie in one stretch of memory, as they do in the file.
    assert max(weights) - min(weights) < path.stat().st_size


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "unet"}, "There is no model 'unet'"),
        ({"architecture": "hf-hub:someone/something"}, "There is no model"),
        ({"config": {"wings": 2}}, "has no 'wings'"),
        ({"config": {"name": "med_urwkv_tiny"}}, "multiple values"),
        ({"config": {"depth": "many"}}, "depth has to be a whole number"),
        ({"config": {"in_channels": 1, "num_classes": 3}}, "takes 1"),
        ({"config": {"num_classes": 2}}, "3 output values and its network has 2"),
        ({"architecture": "vrwkv_adapter_tiny", "config": {}}, "gives features"),
    ],
)
def test_cards_that_do_not_make_a_network(
    recard: Any, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        load_model(recard(lambda card: card.update(change)))


def test_sizes_that_contradict_each_other(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(config: object) -> nn.Module:
        raise RuntimeError("sizes of tensors do not match")

    monkeypatch.setattr(fit, "blank_network", refuse)
    with pytest.raises(CheckpointError, match=r"no network can be built.*do not match"):
        load_model(checkpoint)


def test_wrong_shapes_are_found_before_the_tensors_are_read(
    recard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Built for real, this network would take gigabytes.
    path = recard(lambda card: card["config"].update(embed_dim=4096))

    def refuse(path: Path, header: Any) -> Any:
        raise AssertionError("the tensors were read")

    monkeypatch.setattr(weights_module, "map_runs", refuse)
    with pytest.raises(CheckpointError, match=r"has shape .* where .*4096.* belongs"):
        load_model(path)


class Offset(nn.Module):
    """Holds a value that no state dict has."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.head = nn.Conv2d(8, 3, 1)
        self.register_buffer("offset", torch.arange(3.0), persistent=False)


def test_buffers_outside_the_file_get_their_values(
    retensor: Retensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if not key.startswith("head.")]:
            del tensors[key]

    path = retensor(edit)

    def blank(config: Any) -> nn.Module:
        with torch.device("meta"):
            return Offset(config)

    monkeypatch.setattr(fit, "blank_network", blank)
    monkeypatch.setattr(models_module, "build_model", Offset)
    network: Any = load_model(path).network
    assert network.offset.tolist() == [0.0, 1.0, 2.0]
    assert torch.equal(network.head.bias, load_file(path)["head.bias"].float())


def test_file_that_changes_meanwhile(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = weights_module.map_runs

    def change(path: Path, header: Any) -> Any:
        runs = mapped(path, header)
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data + b" ")
        return runs

    monkeypatch.setattr(weights_module, "map_runs", change)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        load_model(checkpoint)


def test_truncated(checkpoint: Path) -> None:
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[:-100])
    with pytest.raises(CheckpointError, match="truncated: 100 bytes"):
        load_model(checkpoint)
    checkpoint.write_bytes(data[:100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_model(checkpoint)


def test_disk_that_fails(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("torch.UntypedStorage.from_file", fail)
        with pytest.raises(CheckpointError, match="Input/output error"):
            load_model(checkpoint)
    monkeypatch.setattr(load_module, "begin_digest", fail)
    with pytest.raises(CheckpointError, match="Input/output error"):
        load_model(checkpoint)


def test_one_output(tmp_path: Path, fields: dict[str, Any]) -> None:
    from napari_medurwkv.checkpoints import save_checkpoint
    from napari_medurwkv.models import create_model

    config = fields["config"] | {"num_classes": 1}
    card = ModelCard.model_validate(
        fields | {"config": config, "activation": "sigmoid", "output_values": [1]}
    )
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, create_model(card.architecture, **config), card)
    assert load_model(path).card.output_values == (1,)


def test_model_is_frozen(checkpoint: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_model(checkpoint).digest = ""  # type: ignore[misc]


def test_values_of_every_type_lie_where_the_header_says(tmp_path: Path) -> None:
    from napari_medurwkv.checkpoints.container import read_header

    stored = {
        "b": torch.tensor([True, False, True]),
        "u8": torch.arange(5, dtype=torch.uint8),
        "half": torch.arange(7).half().reshape(7, 1) / 3,
        "bf": torch.arange(3).bfloat16(),
        "none": torch.empty(0, 4),
        "one": torch.tensor(2.5),
        "double": torch.arange(6.0, dtype=torch.float64).reshape(2, 3),
        "count": torch.tensor(9),
        "i16": torch.arange(4, dtype=torch.int16),
        "float": torch.arange(24.0).reshape(2, 3, 4),
    }
    path = tmp_path / "types.safetensors"
    save_file(stored, path)
    even = path.read_bytes()
    length = int.from_bytes(even[:8], "little")
    odd = (length + 1).to_bytes(8, "little") + even[8 : 8 + length] + b" "
    for data in (even, odd + even[8 + length :]):  # and values that lie askew
        path.unlink()
        path.write_bytes(data)
        header = read_header(path)
        found = weights_module.map_tensors(path, header)
        assert list(found) == list(header.tensors)
        for key, value in stored.items():
            assert found[key].dtype == value.dtype, key
            assert found[key].shape == value.shape, key
            assert torch.equal(found[key], value), key


def test_changing_a_loaded_value_leaves_the_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    network: Any = load_model(checkpoint).network
    before = checkpoint.read_bytes()
    kept = network.head.weight.clone()
    with torch.no_grad():
        network.head.bias.fill_(7)
    assert checkpoint.read_bytes() == before
    assert torch.equal(network.head.weight, kept)
    # Each tensor is a piece of its own: one alone is not saved with all the others.
    torch.save(network.head.bias.detach(), tmp_path / "bias.pt")
    assert (tmp_path / "bias.pt").stat().st_size < 5000


def test_everything_is_turned_to_evaluation(checkpoint: Path) -> None:
    assert not any(
        module.training for module in load_model(checkpoint).network.modules()
    )


def test_a_bias_that_contradicts_its_weight_is_named_with_it() -> None:
    needed = {"head.bias": StateInfo((10,), "floating point")}
    given = {
        "head.bias": StateInfo((9,), "floating point"),
        "head.weight": StateInfo((10, 4), "floating point"),
    }
    with pytest.raises(
        CheckpointError, match=r"beside head\.weight of shape \(10, 4\)"
    ):
        check_tensors({**given, **needed}, given, "x.pth", "toy")
