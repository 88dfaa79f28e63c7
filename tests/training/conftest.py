"""A tiny paired data set of discs, and a configuration that trains on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

SMALL_NETWORK = {
    "num_classes": 3,
    "embed_dim": 32,
    "depth": 4,
    "bottleneck_dim": 32,
    "bottleneck_depth": 1,
    "decoder_dims": [32, 32, 32],
    "decoder_depths": [1, 1, 1],
    "final_dim": 16,
}


def card_values(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "discs",
        "title": "Discs",
        "version": "1",
        "description": "Bright discs.",
        "limitations": "Nothing else.",
        "dimensions": 2,
        "modality": ["test"],
        "channels": [{"name": name} for name in ("red", "green", "blue")],
        "repeat_grey": True,
        "intensity": {
            "scale": "percentile",
            "low": 0.5,
            "high": 99.5,
            "mean": 0.5,
            "std": 0.25,
        },
        "patch_size": [64, 64],
        "activation": "softmax",
        "classes": [
            {"value": 0, "name": "background", "color": "#000000"},
            {"value": 1, "name": "disc", "color": "#ff0000"},
        ],
        "output_values": [0, 1, 1],
        "instances": {"inside_channel": 1, "boundary_channel": 2},
        "training_data": [{"name": "made up", "licence": "CC0-1.0"}],
        "authors": ["Nobody"],
        "licence": "CC0-1.0",
    }
    return values | changes


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model": {"name": "med_urwkv_nano", "config": SMALL_NETWORK},
        "card": card_values(),
        "data": {
            "kind": "paired",
            "images": str(folder / "images"),
            "labels": str(folder / "labels"),
            "validation": 0.25,
        },
        "target": "instance-boundary",
        "crop": 32,
        "batch": 2,
        "budget": {"steps": 20},
        "validation": {"every_steps": 10, "images": 1},
        "accelerator": "cpu",
        "threads": 1,
    }
    return values | changes


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures, two of them in colour, with numbered discs."""
    folder = tmp_path_factory.mktemp("discs")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:96, :80]
    for number in range(8):
        labels = np.zeros((96, 80), np.uint16)
        for disc in range(1, 6):
            y, x, r = rng.uniform(8, 72), rng.uniform(8, 72), rng.uniform(5, 10)
            labels[(rows - y) ** 2 + (columns - x) ** 2 < r * r] = disc + 300
        image = (40 + 150 * (labels > 0) + rng.normal(0, 8, labels.shape)).clip(0, 255)
        image = image.astype(np.uint8)
        if number >= 6:
            tint = np.array([255, 120, 200]) / 255
            image = ((255 - image[..., None]) * tint).astype(np.uint8)
        imageio.imwrite(folder / "images" / f"{number}.png", image)
        imageio.imwrite(folder / "labels" / f"{number}.png", labels)
    return folder
