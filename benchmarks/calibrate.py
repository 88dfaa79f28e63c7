"""Choose how much a network is to favour the background, on its training images.

    python benchmarks/calibrate.py benchmarks/train/nuclei.yaml IN OUT
    python benchmarks/calibrate.py benchmarks/train/nuclei.yaml --unet runs/unet

Soft Dice makes networks claim too much: masks come out a little too large, and objects
grow together. Some training images pass through the network whole; each offset is added
to the logit of the background, and the smallest whose sum of Dice and AJI is within
0.003 of the best enters its bias. --unet changes the folder's best.safetensors.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accuracy import BEST, trained_unet
from safetensors.torch import save_file
from torch.nn import functional as F

from napari_medurwkv.checkpoints import load_model, save_checkpoint
from napari_medurwkv.inference import separate_objects
from napari_medurwkv.measure import agreement
from napari_medurwkv.training import read_config
from napari_medurwkv.training.config import PairedData
from napari_medurwkv.training.data import _scaled as scaled
from napari_medurwkv.training.data import read_pairs, split_pairs

if TYPE_CHECKING:
    from torch import nn

    from napari_medurwkv.checkpoints import ModelCard
    from napari_medurwkv.training.data import LabelledImage

OFFSETS = (0.0, 0.4, 0.8, 1.2, 1.6, 2.0)


def background_bias(network: nn.Module, outputs: int) -> torch.Tensor:
    """Return the bias of the last layer, of as many numbers as outputs."""
    biases = [p for n, p in network.named_parameters() if n.endswith("bias")]
    return [p for p in biases if p.shape == (outputs,)][-1].detach()


@torch.no_grad()
def logits_of(network: nn.Module, pair: LabelledImage, card: ModelCard) -> torch.Tensor:
    recipe = card.intensity
    image = scaled(pair.image, recipe).float()
    image = image.expand(len(card.channels), -1, -1)
    image = ((image - recipe.mean) / recipe.std)[None]
    size = [round(side * card.magnification) for side in image.shape[-2:]]
    # UNet wants multiples of 16; beyond the picture it is repeated.
    below, right = (-side % 16 for side in size)
    image = F.interpolate(image, size, mode="bilinear", align_corners=False)
    image = F.pad(image, (0, right, 0, below), mode="replicate")
    return network(image)[0, :, : size[0], : size[1]]


def figures(
    logits: torch.Tensor, pair: LabelledImage, card: ModelCard, offset: float
) -> tuple[float, float]:
    """Dice and AJI with the background's logit raised."""
    assert card.instances is not None
    each = torch.cat((logits[:1] + offset, logits[1:])).softmax(0)
    each = F.adaptive_avg_pool2d(each, pair.labels.shape)
    inside = (each[card.instances.inside_channel] * 255).round().byte().numpy()
    objects = separate_objects((each[0] < 0.5).numpy(), inside, card.instances)
    found = agreement(objects, pair.labels, values=None, instances=True)
    assert found.aji is not None
    return found.mean_dice, found.aji


def calibrate(
    network: nn.Module, images: list[LabelledImage], card: ModelCard
) -> float:
    """Raise the background by the best offset; returns it."""
    rows = []
    for pair in images:
        logits = logits_of(network, pair, card)
        rows.append([figures(logits, pair, card, offset) for offset in OFFSETS])
    means = np.mean(rows, axis=0)
    for offset, (dice, aji) in zip(OFFSETS, means, strict=True):
        print(f"offset {offset}: Dice {dice:.4f}, AJI {aji:.4f}", flush=True)
    worth = means.sum(1)
    best = OFFSETS[int((worth >= worth.max() - 0.003).argmax())]
    background_bias(network, len(card.output_values))[0] += best
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", nargs="?", help="name or path")
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--unet", type=Path, help="folder of the UNet's training")
    parser.add_argument("--images", type=int, default=90)
    given = parser.parse_args()
    config = read_config(given.config)
    assert isinstance(config.data, PairedData)
    train, _ = split_pairs(read_pairs(config.data), config.data)
    chosen = np.random.default_rng(config.data.split_seed).permutation(len(train))
    if given.unet is not None:
        network = trained_unet(config, given.unet)
        card = config.model_card(
            metrics=(), training="", date=datetime.date(2000, 1, 1)
        )
    else:
        model = load_model(given.checkpoint)
        network, card = model.network, model.card
    images = [train[i] for i in chosen[: given.images]]
    best = calibrate(network.eval(), images, card)
    print(f"kept {best}")
    if given.unet is not None:
        save_file(network.state_dict(), given.unet / BEST)
    else:
        save_checkpoint(given.output, network, card, dtype="float16")


if __name__ == "__main__":
    main()
