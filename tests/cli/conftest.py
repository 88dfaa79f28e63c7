"""Two small models with random weights in place of the embedded ones."""

from __future__ import annotations

import datetime

import pytest
import torch
from typer.testing import CliRunner

from napari_medurwkv.checkpoints import ModelCard, lookup, save_checkpoint
from napari_medurwkv.cli.app import app
from napari_medurwkv.models import create_model

SMALL = {
    "embed_dim": 16,
    "depth": 4,
    "conv_inplane": 8,
    "bottleneck_dim": 16,
    "decoder_dims": [16, 16, 16],
    "final_dim": 8,
}
"""Values that make the network small."""

COMMON = {
    "version": "1",
    "description": "Nothing in particular.",
    "limitations": "Everything.",
    "architecture": "med_urwkv_nano",
    "intensity": {"scale": "percentile", "low": 1, "high": 99},
    "activation": "softmax",
    "training_data": [{"name": "noise", "licence": "CC0-1.0"}],
    "metrics": [{"name": "Dice", "value": 0.5, "data": "noise"}],
    "authors": ["Nobody"],
    "licence": "BSD-3-Clause",
    "date": datetime.date(2026, 1, 1),
}
BACKGROUND = {"value": 0, "name": "background", "color": "#000000"}
NUCLEI = COMMON | {
    "name": "nuclei",
    "title": "Small nuclei [random]",
    "dimensions": 2,
    "modality": ["fluorescence"],
    "channels": [{"name": "red"}, {"name": "green"}, {"name": "blue"}],
    "repeat_grey": True,
    "patch_size": [256, 256],
    "overlap": 0.25,
    "classes": [BACKGROUND, {"value": 1, "name": "nucleus", "color": "#ff00ff"}],
    "output_values": [0, 1, 1],
    "instances": {"inside_channel": 1, "boundary_channel": 2},
}
BRAIN = COMMON | {
    "name": "brain-tissue",
    "title": "Small brain",
    "dimensions": 3,
    "modality": ["MR"],
    "channels": [{"name": "intensity"}],
    "spacing": [12, 4, 4],
    "orientation": "SPL",
    "patch_size": [64, 64],
    "overlap": 0.25,
    "slice_axis": 0,
    "slice_context": 1,
    "classes": [
        BACKGROUND,
        {"value": 1, "name": "grey matter", "color": "#00ff00"},
        {"value": 2, "name": "white matter", "color": "#0000ff"},
    ],
    "output_values": [0, 1, 2],
}


GREY = NUCLEI | {"name": "grey", "channels": [{"name": "grey"}], "repeat_grey": False}


def make_model(folder, card, bias=None):
    """Save a model; its outputs differ little, so a bias decides between them."""
    config = SMALL | {
        "num_classes": len(card["output_values"]),
        "in_channels": len(card["channels"]) * (2 * card.get("slice_context", 0) + 1),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_model("med_urwkv_nano", **config)
    if bias is not None:
        network.head.bias.data = torch.tensor(bias)
    path = folder / f"{card['name']}.safetensors"
    save_checkpoint(path, network, ModelCard.model_validate(card | {"config": config}))
    return path


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    # Two outputs share a value: this makes background as frequent as they.
    make_model(folder, NUCLEI, [0.69, 0.0, 0.0])
    make_model(folder, BRAIN)
    return folder


@pytest.fixture(scope="session")
def grey_model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("grey"), GREY)


@pytest.fixture(scope="session")
def mute_folder(tmp_path_factory):
    """Models that find nothing."""
    folder = tmp_path_factory.mktemp("mute")
    make_model(folder, NUCLEI, [9.0, 0.0, 0.0])
    make_model(folder, BRAIN, [9.0, 0.0, 0.0])
    return folder


@pytest.fixture
def embedded(models_folder, monkeypatch):
    """The small models are the ones that came with the package."""
    monkeypatch.setattr(lookup, "embedded_folder", lambda: models_folder)
    monkeypatch.setattr(lookup, "user_folder", lambda: models_folder / "no user's")
    return models_folder


@pytest.fixture
def medurwkv(monkeypatch):
    """Run a command line; its answer has exit_code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*words, code=0):
        answer = CliRunner().invoke(app, [str(word) for word in words])
        if answer.exception and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        assert answer.exit_code == code, answer.output
        return answer

    yield run
    torch.set_num_threads(threads)
