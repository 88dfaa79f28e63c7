"""Twenty steps on discs: the whole way from a configuration to a usable file."""

from __future__ import annotations

import csv
import datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_medurwkv.checkpoints import load_model, read_card, save_checkpoint
from napari_medurwkv.inference import segment
from napari_medurwkv.models import create_model
from napari_medurwkv.training import ConfigError, TrainConfig, run, train
from napari_medurwkv.training.data import read_pairs

from .conftest import SMALL_NETWORK, card_values, settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def trained(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "discs"
    config = TrainConfig.model_validate(settings(discs))
    return train(config, output, progress=False)


def curve(output: Path, version: int = 0) -> list[dict[str, str]]:
    path = output / "curves" / f"version_{version}" / "metrics.csv"
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_ends_in_a_checkpoint_that_segments(trained: Path, discs: Path) -> None:
    assert trained.name == "discs.safetensors"
    model = load_model(trained)
    assert model.card.config["embed_dim"] == 32
    assert "20 steps of 2 crops of 32" in model.card.training
    assert {metric.name for metric in model.card.metrics} == {"Dice", "AJI"}
    assert all(0 <= metric.value <= 1 for metric in model.card.metrics)
    assert "3 validation images" in model.card.metrics[0].data
    image = read_pairs(TrainConfig.model_validate(settings(discs)).data)[0].image
    found = segment(image, model, device="cpu", instances=True)
    assert found.labels.shape == image.shape


def test_the_curves_tell_loss_rate_and_validation(trained: Path) -> None:
    rows = curve(trained.parent)
    assert any(row["loss"] for row in rows)
    assert sum(bool(row["val/dice"]) for row in rows) == 3
    rates = [float(row["rate"]) for row in rows if row["rate"]]
    assert rates[-1] < 1e-4


def test_a_folder_with_a_run_is_not_overwritten(trained: Path, discs: Path) -> None:
    config = TrainConfig.model_validate(settings(discs))
    with pytest.raises(ConfigError, match="holds a run already"):
        train(config, trained.parent, progress=False)
    with pytest.raises(ConfigError, match="nothing to resume"):
        train(config, trained.parent / "none", resume=True, progress=False)


def test_resuming_goes_on_where_it_stopped(discs: Path, tmp_path: Path) -> None:
    short = settings(discs, budget={"steps": 4})
    train(TrainConfig.model_validate(short), tmp_path, progress=False)
    before = torch.load(tmp_path / "last.ckpt", weights_only=False)
    longer = settings(discs, budget={"steps": 7})
    path = train(
        TrainConfig.model_validate(longer), tmp_path, resume=True, progress=False
    )
    after = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert (before["global_step"], after["global_step"]) == (4, 7)
    assert after["seconds"] > before["seconds"] > 0
    moments = [
        state["optimizer_states"][0]["state"][0]["step"] for state in (before, after)
    ]
    assert [int(step) for step in moments] == [4, 7]
    assert "7 steps" in read_card(path).training


def test_time_ends_a_run_too(discs: Path, tmp_path: Path) -> None:
    changes = {"minutes": 0.02}
    path = train(
        TrainConfig.model_validate(settings(discs, budget=changes)),
        tmp_path,
        progress=False,
    )
    assert path.is_file()


def test_an_encoder_from_a_file_is_frozen_at_first(discs: Path, tmp_path: Path) -> None:
    start = create_model("med_urwkv_nano", **SMALL_NETWORK)
    with torch.no_grad():
        for parameter in start.encoder.parameters():
            parameter.add_(0.01)
    card = TrainConfig.model_validate(settings(discs)).model_card(
        metrics=(), training="", date=datetime.date(2020, 1, 1)
    )
    source = save_checkpoint(
        tmp_path / "start.safetensors", start, card, dtype="float32"
    )

    def weights(freeze: float) -> dict[str, torch.Tensor]:
        encoder = {"checkpoint": str(source), "freeze": freeze}
        values = settings(
            discs,
            encoder=encoder,
            budget={"steps": 4},
            optimiser={"ema": None, "lr": 1e-2},
        )
        output = tmp_path / str(freeze)
        train(TrainConfig.model_validate(values), output, progress=False)
        state = torch.load(output / "last.ckpt", weights_only=False)["state_dict"]
        return {
            key.removeprefix("network."): value
            for key, value in state.items()
            if key.startswith("network.")
        }

    given = start.state_dict()
    encoder_keys = [key for key in given if key.startswith("encoder.")]
    held = weights(0.99)
    for key in encoder_keys:
        np.testing.assert_array_equal(
            held[key].numpy(), given[key].numpy(), err_msg=key
        )
    assert not torch.equal(held["head.weight"], given["head.weight"])
    freed = weights(0.25)
    assert any(not torch.equal(freed[key], given[key]) for key in encoder_keys)


def test_semantic_training_measures_every_class(discs: Path, tmp_path: Path) -> None:
    from napari_medurwkv.training.config import PairedData

    data = PairedData(images=discs / "images", labels=discs / "labels")
    values = sorted(
        {int(v) for pair in read_pairs(data) for v in np.unique(pair.labels)}
    )
    classes = [{"value": v, "name": f"disc {v}", "color": "#123456"} for v in values]
    config = settings(
        discs,
        target="semantic",
        card=card_values(classes=classes, output_values=values, instances=None),
        model={
            "name": "med_urwkv_nano",
            "config": {**SMALL_NETWORK, "num_classes": len(values)},
        },
        budget={"steps": 2},
    )
    path = train(TrainConfig.model_validate(config), tmp_path, progress=False)
    named = {m.class_name for m in read_card(path).metrics}
    assert named == {"", *(f"disc {v}" for v in values if v)}


def test_a_run_stopped_while_it_is_measured_leaves_its_weights(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_refresh", stop)
    config = TrainConfig.model_validate(settings(discs, budget={"steps": 2}))
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, progress=False)
    card = load_model(tmp_path / "discs.safetensors").card
    assert card.metrics == ()
    assert "2 steps" in card.training


def test_a_run_may_start_from_a_checkpoint(
    trained: Path, discs: Path, tmp_path: Path
) -> None:
    values = settings(discs, budget={"steps": 1})
    values["optimiser"] = {"lr": 1e-9, "ema": None, "weight_decay": 0.0}
    values["model"] = {**values["model"], "start": trained}
    path = train(TrainConfig.model_validate(values), tmp_path / "run", progress=False)
    before, after = (load_model(p).network.state_dict() for p in (trained, path))
    for name, value in before.items():
        if "running" not in name and value.is_floating_point():
            torch.testing.assert_close(after[name], value, atol=1e-3, rtol=1e-3)
    assert "the weights of discs.safetensors" in read_card(path).training


def test_another_network_is_no_start(
    trained: Path, discs: Path, tmp_path: Path
) -> None:
    values = settings(discs)
    config = {**values["model"]["config"], "depth": 5}
    values["model"] = {**values["model"], "config": config, "start": trained}
    with pytest.raises(ConfigError, match="another network"):
        train(TrainConfig.model_validate(values), tmp_path / "run", progress=False)


def test_graphs_need_a_gpu(discs: Path, tmp_path: Path) -> None:
    config = TrainConfig.model_validate({**settings(discs), "cuda_graphs": True})
    with pytest.raises(ConfigError, match="one NVIDIA GPU"):
        train(config, tmp_path, progress=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_replayed_passes_learn_the_same(discs: Path, tmp_path: Path) -> None:
    losses = []
    for graphs in (False, True):
        values = {**settings(discs), "accelerator": "gpu", "cuda_graphs": graphs}
        output = tmp_path / str(graphs)
        train(TrainConfig.model_validate(values), output, progress=False)
        losses.append([float(row["loss"]) for row in curve(output) if row["loss"]])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
