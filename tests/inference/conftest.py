"""Cards made by hand, networks of a few lines, and models of both."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_medurwkv.checkpoints import (
    ClassInfo,
    InputChannel,
    IntensityRecipe,
    Model,
    ModelCard,
)
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import Image

COLORS = ("#000000", "#ff0000", "#00ff00", "#0000ff", "#ffff00")


class Threshold(nn.Module):
    """Answers 1 where a channel is brighter than a half: a network that copies."""

    def __init__(self, channel: int = 0, gain: float = 20) -> None:
        super().__init__()
        self.channel = channel
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, self.channel : self.channel + 1]
        return torch.cat([torch.full_like(x, 0.5), x], 1) * self.gain


class Convolution(nn.Module):
    """A random convolution, whose windows differ at their borders."""

    def __init__(self, channels: int, outputs: int, size: int = 7) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(channels, outputs, size, padding=size // 2)
        # Without a preferred answer: each output is 0 on a constant image.
        with torch.no_grad():
            self.conv.weight -= self.conv.weight.mean((1, 2, 3), keepdim=True)
            self.conv.bias.zero_()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.conv(x)


def make_card(**changes):
    values = {
        "name": "fake",
        "title": "Fake",
        "version": "1",
        "description": "Nothing.",
        "limitations": "Everything.",
        "architecture": "none",
        "config": {},
        "dimensions": 2,
        "modality": ("test",),
        "channels": (InputChannel(name="grey"),),
        "intensity": IntensityRecipe(scale="none"),
        "patch_size": (32, 32),
        "activation": "softmax",
        "output_values": (0, 1),
        "training_data": (),
        "metrics": (),
        "authors": ("Nobody",),
        "licence": "BSD-3-Clause",
        "date": datetime.date(2025, 1, 1),
    }
    values.update(changes)
    if "classes" not in values:
        values["classes"] = tuple(
            ClassInfo(value=v, name=f"class {v}", color=COLORS[v % 5])
            for v in sorted({0, *values["output_values"]})
        )
    return ModelCard(**values)


def make_volume_card(**changes):
    values = {
        "dimensions": 3,
        "spacing": (1, 1, 1),
        "slice_axis": 0,
        "slice_context": 1,
        "orientation": "SPL",
    }
    values.update(changes)
    return make_card(**values)


def make_image(array, spacing=None, unit="mm", *, rgb=False):
    shape = array.shape[:-1] if rgb else array.shape
    return Image(array, Geometry.plain(shape, spacing, unit), rgb, "test")


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors are not worth a second thread, least of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def networks():
    return {"threshold": Threshold, "convolution": Convolution}


@pytest.fixture
def card():
    return make_card


@pytest.fixture
def volume_card():
    return make_volume_card


@pytest.fixture
def image():
    return make_image


@pytest.fixture
def model():
    def make(network, card):
        return Model(network.eval(), card, Path("fake.safetensors"), "0" * 64)

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(0)
