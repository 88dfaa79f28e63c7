"""Figures on images that training does not see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from napari_medurwkv.checkpoints import ModelCard
    from napari_medurwkv.training.data import LabelledImage

__all__ = ["Numbers", "PairedValidator", "SampleValidator", "Validator", "spread"]


class Validator(Protocol):
    """Measures a network on one of its images."""

    data: str

    def __len__(self) -> int:
        """Images that there are."""

    def measure(self, network: nn.Module, number: int) -> dict[str, float]:
        """Figures of image `number`, by name; the network is in evaluation mode."""


class Numbers(Dataset[int]):
    """The numbers of the images to validate on, for a data loader."""

    def __init__(self, chosen: Sequence[int]) -> None:
        self._chosen = tuple(chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, position: int) -> int:
        return self._chosen[position]


def spread(count: int, wanted: int | None) -> tuple[int, ...]:
    """Pick `wanted` numbers out of ``range(count)``, evenly; all if it is None."""
    if wanted is None or wanted >= count:
        return tuple(range(count))
    return tuple(int(i) for i in np.linspace(0, count - 1, wanted).round())


class PairedValidator:
    """Segments whole images with the sliding window that users get.

    Parameters
    ----------
    images : sequence of LabelledImage
        The validation side of the split.
    card : ModelCard
        The card that the checkpoint will have, its figures aside.
    instances : bool
        Whether labels number objects: then AJI is measured too.
    """

    def __init__(
        self, images: Sequence[LabelledImage], card: ModelCard, instances: bool
    ) -> None:
        self.images = sorted(images, key=lambda pair: (pair.kind, pair.name))
        self._card = card
        self._instances = instances
        self._names = {c.value: c.name for c in card.foreground}
        self.data = f"{len(images)} validation images, held back by image"

    def __len__(self) -> int:
        """Images that there are."""
        return len(self.images)

    def measure(self, network: nn.Module, number: int) -> dict[str, float]:
        """Dice of the foreground (and AJI), of image `number`."""
        from napari_medurwkv.checkpoints import Model
        from napari_medurwkv.inference import segment
        from napari_medurwkv.measure import agreement

        pair = self.images[number]
        model = Model(network, self._card, Path("unsaved.safetensors"), "0" * 64)
        found = segment(
            pair.image,
            model,
            device=str(next(network.parameters()).device),
            instances=self._instances,
        )
        result = agreement(
            found.labels,
            pair.labels,
            values=None if self._instances else tuple(self._names),
            instances=self._instances,
        )
        figures = {"dice": result.mean_dice}
        if result.aji is not None:
            figures["aji"] = result.aji
        elif len(self._names) > 1:
            for each in result.classes:
                figures[f"dice/{self._names[each.value]}"] = each.dice
        return figures


class SampleValidator:
    """Runs the network on fixed synthetic slices.

    Parameters
    ----------
    samples : sequence of dict
        ``image`` (C, H, W) and ``target`` (H, W), as the training stream has them.
    card : ModelCard
        Names the outputs.
    """

    def __init__(self, samples: Sequence[dict[str, Tensor]], card: ModelCard) -> None:
        self._samples = samples
        self._names = {
            output: next(c.name for c in card.classes if c.value == value)
            for output, value in enumerate(card.output_values)
            if value != 0
        }
        self.data = f"{len(samples)} synthetic slices"

    def __len__(self) -> int:
        """Slices that there are."""
        return len(self._samples)

    @torch.no_grad()
    def measure(self, network: nn.Module, number: int) -> dict[str, float]:
        """Dice of every class and their mean, of slice `number`.

        A class that is neither there nor found counts as 1.
        """
        sample = self._samples[number]
        parameter = next(network.parameters())
        found = network(sample["image"][None].to(parameter)).argmax(1)[0].cpu()
        dice = {}
        for output, name in self._names.items():
            a, b = found == output, sample["target"] == output
            total = int(a.sum() + b.sum())
            dice[f"dice/{name}"] = 2 * int((a & b).sum()) / total if total else 1.0
        return {"dice": float(np.mean(list(dice.values()))), **dice}
