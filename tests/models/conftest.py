"""The fill rules of the reference vectors, and a network small enough to train."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_medurwkv.models import MedURWKV, create_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SMALL: dict[str, Any] = {
    "img_size": 64,
    "embed_dim": 32,
    "depth": 4,
    "conv_inplane": 8,
    "deform_num_heads": 2,
    "bottleneck_dim": 32,
    "bottleneck_depth": 1,
    "decoder_dims": (32, 24, 16),
    "final_dim": 8,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small to share between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_config() -> dict[str, Any]:
    return dict(SMALL)


@pytest.fixture
def small_network(small_config: dict[str, Any]) -> MedURWKV:
    torch.manual_seed(0)
    network = create_model("med_urwkv_nano", **small_config)
    assert isinstance(network, MedURWKV)
    return network


def _drawn(key: str, shape: tuple[int, ...]) -> NDArray[np.floating[Any]]:
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    z = generator.standard_normal(shape).astype(np.float32)
    last = key.rsplit(".", 1)[-1]
    if last == "running_var":
        return np.abs(z) * 0.5 + 0.5
    if last == "weight":
        return z / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 1 + 0.1 * z
    return 0.5 + 0.1 * z if "mix" in last else 0.1 * z


def _waved(key: str, shape: tuple[int, ...]) -> NDArray[np.floating[Any]]:
    phase = sum(map(ord, key)) % 97
    value = 0.2 * np.sin(0.7 * np.arange(int(np.prod(shape))) + phase)
    if key.endswith("running_var"):
        value = 1 + 0.5 * value
    elif len(shape) == 1 and key.endswith(".weight"):
        value = 1 + value
    return value.reshape(shape)


def _fill(
    network: torch.nn.Module,
    rule: Callable[[str, tuple[int, ...]], NDArray[np.floating[Any]]],
) -> None:
    network.load_state_dict(
        {
            key: value
            if key.endswith("num_batches_tracked")
            else torch.as_tensor(rule(key, tuple(value.shape)))
            for key, value in network.state_dict().items()
        }
    )


@dataclass(frozen=True)
class References:
    """The folder of reference vectors and how to fill a network for them."""

    folder: Path

    def vector(self, name: str) -> tuple[NDArray[Any], list[NDArray[Any]], list[Any]]:
        """Return input, outputs and the list of [key, shape]."""
        with np.load(self.folder / f"{name}.npz") as file:
            outputs = [
                file[key] for key in sorted(file.files) if key.startswith("output")
            ]
            state = json.loads(bytes(file["state"]))
            return file["input"], outputs, [[k, tuple(s)] for k, s in state.items()]

    def golden(self, entry: str) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = json.loads(
            (self.folder / "golden.json").read_text()
        )[entry]
        return records

    def keys(self, name: str) -> list[tuple[str, str]]:
        lines = (self.folder / "keys" / f"{name}.tsv").read_text().splitlines()
        pairs = [line.split("\t") for line in lines if not line.startswith("#")]
        return [(key, shape) for key, shape in pairs]

    @staticmethod
    def fill_drawn(network: torch.nn.Module) -> None:
        _fill(network, _drawn)

    @staticmethod
    def fill_waved(network: torch.nn.Module) -> None:
        _fill(network, _waved)


@pytest.fixture(scope="session")
def references(shared_reference: Path) -> References:
    return References(shared_reference)
