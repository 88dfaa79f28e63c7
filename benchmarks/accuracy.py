"""Accuracy of a checkpoint on its validation images, beside a plain UNet's.

python benchmarks/accuracy.py benchmarks/train/nuclei.yaml nuclei
python benchmarks/accuracy.py benchmarks/train/nuclei.yaml nuclei \
    --unet runs/unet --unet-config benchmarks/train/nuclei-unet.yaml

With --unet, MONAI's UNet (8.2 M parameters) is trained in that folder through the same
code, by the same configuration or its own, unless that was done before; an interrupted
training is taken up again. Both are measured with the plugin's own sliding window.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.nets import UNet
from safetensors.torch import load_file, save_file
from torch import nn

from napari_medurwkv.checkpoints import load_model
from napari_medurwkv.training import TrainConfig, read_config, train
from napari_medurwkv.training.config import PairedData
from napari_medurwkv.training.data import read_pairs, split_pairs
from napari_medurwkv.training.validation import PairedValidator

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import ModelCard

RESULTS = Path(__file__).resolve().parent / "results"
CHANNELS = (36, 72, 144, 288, 576)
BEST = "best.safetensors"


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one image."""

    name: str
    kind: str
    dice: float
    aji: float


def unet(config: TrainConfig) -> nn.Module:
    channels = len(config.card["channels"])
    network: nn.Module = UNet(
        spatial_dims=2,
        in_channels=channels,
        out_channels=len(config.card["output_values"]),
        channels=CHANNELS,
        strides=(2, 2, 2, 2),
        num_res_units=2,
        norm="batch",
    )
    return network


def trained_unet(config: TrainConfig, folder: Path) -> nn.Module:
    network = unet(config)
    best = folder / BEST
    if not best.is_file():
        train(config, folder, resume=(folder / "last.ckpt").is_file(), network=network)
        save_file(network.state_dict(), best)
    network.load_state_dict(load_file(best))
    return network.eval()


def measured(
    network: nn.Module, card: ModelCard, config: TrainConfig, device: str
) -> list[Row]:
    assert isinstance(config.data, PairedData)
    _, held = split_pairs(read_pairs(config.data), config.data)
    network.to(device)
    validator = PairedValidator(held, card, instances=True)
    rows = []
    for number, pair in enumerate(validator.images):
        figures = validator.measure(network, number)
        rows.append(Row(pair.name, pair.kind, figures["dice"], figures["aji"]))
    return rows


def mean(rows: list[Row], kind: str | None = None) -> dict[str, float | int]:
    chosen = [row for row in rows if kind in (None, row.kind)]
    return {
        "images": len(chosen),
        "dice": round(float(np.mean([row.dice for row in chosen])), 4),
        "aji": round(float(np.mean([row.aji for row in chosen])), 4),
    }


def table(results: dict[str, dict[str, object]], rows: dict[str, list[Row]]) -> str:
    kinds = sorted({row.kind for each in rows.values() for row in each})
    lines = [
        "| network | parameters | images | n | Dice | AJI |",
        "|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        size = f"{result['parameters'] / 1e6:.2f} M"  # type: ignore[operator]
        for kind in (None, *kinds):
            m = mean(rows[name], kind)
            lines.append(
                f"| {name} | {size} | {kind or 'all'} | {m['images']} | "
                f"{m['dice']:.4f} | {m['aji']:.4f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", help="name or path")
    parser.add_argument("--unet", type=Path, help="folder of the UNet's training")
    parser.add_argument("--unet-config", type=Path, help="of its training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()

    config = read_config(given.config)
    model = load_model(given.checkpoint)
    networks = {model.card.architecture: model.network}
    if given.unet is not None:
        networks["MONAI UNet"] = trained_unet(
            read_config(given.unet_config or given.config), given.unet
        )
    rows = {
        name: measured(network, model.card, config, given.device)
        for name, network in networks.items()
    }
    results: dict[str, dict[str, object]] = {
        name: {
            "parameters": sum(p.numel() for p in network.parameters()),
            "all": mean(rows[name]),
            "kinds": {
                kind: mean(rows[name], kind)
                for kind in sorted({row.kind for row in rows[name]})
            },
            "images": {
                row.name: {"kind": row.kind, "dice": row.dice, "aji": row.aji}
                for row in rows[name]
            },
        }
        for name, network in networks.items()
    }
    setting = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, device {given.device}, "
        f"{torch.get_num_threads()} thread(s)",
        "versions": {name: version(name) for name in ("torch", "monai", "numpy")},
        "checkpoint": {"name": model.card.name, "sha256": model.sha256},
        "training": model.card.training,
    }
    given.output.mkdir(parents=True, exist_ok=True)
    stem = f"{model.card.name}-accuracy"
    (given.output / f"{stem}.json").write_text(
        json.dumps({**setting, "networks": results}, indent=1) + "\n", encoding="utf-8"
    )
    versions = ", ".join(f"{k} {v}" for k, v in setting["versions"].items())  # type: ignore[attr-defined]
    (given.output / f"{stem}.md").write_text(
        f"# Accuracy of {model.card.name}\n\n{setting['date']}; {setting['machine']}; "
        f"{versions}.\n\nValidation images, held back by image with a fixed seed; "
        "Dice of the foreground and aggregated Jaccard index of the objects, means "
        f"over images.\n\n{table(results, rows)}\n\nTraining of {model.card.name}: "
        f"{model.card.training}\n\nCheckpoint sha256: `{model.sha256}`\n",
        encoding="utf-8",
    )
    print((given.output / f"{stem}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
