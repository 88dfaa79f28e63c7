"""A small network, its card, and both in a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from napari_medurwkv.checkpoints import ModelCard, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medurwkv.models import MedURWKV

CONFIG = {
    "in_channels": 3,
    "num_classes": 3,
    "img_size": 32,
    "embed_dim": 16,
    "depth": 1,
    "interactions": 1,
    "extra_extractors": 1,
    "conv_inplane": 8,
    "deform_num_heads": 2,
    "bottleneck_dim": 16,
    "bottleneck_depth": 1,
    "decoder_dims": (16, 16, 8),
    "decoder_depths": (0, 0, 1),
    "final_dim": 8,
}


def card_fields() -> dict[str, Any]:
    return {
        "name": "tiny",
        "title": "Tiny",
        "version": "1",
        "description": "Nothing real.",
        "limitations": "Everything.",
        "architecture": "med_urwkv_nano",
        "config": dict(CONFIG),
        "dimensions": 2,
        "modality": ["fluorescence"],
        "channels": [{"name": name} for name in ("red", "green", "blue")],
        "repeat_grey": True,
        "intensity": {"scale": "dtype"},
        "patch_size": [64, 64],
        "activation": "softmax",
        "classes": [
            {"value": 0, "name": "background", "color": "#000000"},
            {"value": 1, "name": "nucleus", "color": "#ff8000"},
        ],
        "output_values": [0, 1, 1],
        "training_data": [],
        "metrics": [],
        "authors": ["The napari-medurwkv developers"],
        "licence": "BSD-3-Clause",
        "date": "2026-11-23",
    }


@pytest.fixture
def fields() -> dict[str, Any]:
    """Values of a valid 2D card, to be changed at will."""
    return card_fields()


@pytest.fixture
def card(fields: dict[str, Any]) -> ModelCard:
    return ModelCard.model_validate(fields)


@pytest.fixture(scope="session")
def network() -> MedURWKV:
    import torch

    from napari_medurwkv.models import MedURWKV, create_model

    torch.manual_seed(0)
    network = create_model("med_urwkv_nano", **CONFIG)
    assert isinstance(network, MedURWKV)
    return network


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, network: MedURWKV) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "tiny.safetensors"
    card = ModelCard.model_validate(card_fields())
    return save_checkpoint(path, network, card).read_bytes()


@pytest.fixture
def checkpoint(tmp_path: Path, saved: bytes) -> Path:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(saved)
    return path


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a file apart into header fields and tensor bytes."""
    stop = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:stop]), data[stop:]


def join(fields: Any, body: bytes) -> bytes:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.fixture
def rewrite(checkpoint: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Change the header of the checkpoint, keeping the tensors' bytes."""

    def change(edit: Callable[[dict[str, Any]], None]) -> Path:
        header, body = split(checkpoint.read_bytes())
        edit(header)
        checkpoint.write_bytes(join(header, body))
        return checkpoint

    return change


@pytest.fixture
def recard(rewrite: Any) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Change the card inside the checkpoint."""

    def change(edit: Callable[[dict[str, Any]], None]) -> Path:
        def edit_header(header: dict[str, Any]) -> None:
            card = json.loads(header["__metadata__"]["medurwkv.card"])
            edit(card)
            header["__metadata__"]["medurwkv.card"] = json.dumps(card)

        path: Path = rewrite(edit_header)
        return path

    return change
