"""Paired folders in memory: reading, splitting by image, and the stream of crops."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.intensity import fit_intensity
from napari_medurwkv.training.augment import IntensityChanges, random_crop
from napari_medurwkv.training.targets import boundary_target, semantic_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.checkpoints.card import IntensityRecipe, ModelCard
    from napari_medurwkv.training.config import PairedData, TrainConfig

__all__ = ["CropStream", "LabelledImage", "read_pairs", "split_pairs"]


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image with its labels, as they lie in the files.

    Attributes
    ----------
    name : str
        Common stem of the two files.
    kind : str
        ``grey-dark``, ``grey-bright``, ``colour-dark`` or ``colour-bright``: what the
        split and the sampling are balanced over.
    image : ndarray, shape (H, W) or (H, W, 3)
        Stored values.
    labels : ndarray of int32, shape (H, W)
        Object numbers or mask values.
    """

    name: str
    kind: str
    image: NDArray[np.generic]
    labels: NDArray[np.int32]


def _read_image(path: Path) -> NDArray[np.generic]:
    image: NDArray[np.generic] = np.asarray(imageio.imread(path))
    if image.ndim == 3 and image.shape[2] in (2, 4):
        image = image[..., :-1]  # the last one is alpha
    if image.ndim == 3 and (image == image[..., :1]).all():
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ImageError(
            f"{path.name} has shape {image.shape}: training takes grey (rows, columns) "
            "and colour (rows, columns, 3) images."
        )
    return image


def _kind(image: NDArray[np.generic]) -> str:
    low, middle, high = np.percentile(image.astype(np.float32), (0.5, 50, 99.5))
    bright = middle - low > high - middle
    colour = "grey" if image.ndim == 2 else "colour"
    return f"{colour}-{'bright' if bright else 'dark'}"


def read_pairs(data: PairedData) -> list[LabelledImage]:
    """Read every pair of the two folders, in the order of their names.

    Raises
    ------
    ImageError
        A folder is empty or absent, an image has no labels, or the shapes differ.
    """
    pairs = []
    for path in sorted(data.images.glob(data.image_pattern)):
        if not path.name.endswith(data.image_suffix):
            continue
        stem = path.name.removesuffix(data.image_suffix)
        partner = data.labels / f"{stem}{data.label_suffix}"
        if not partner.is_file():
            raise ImageError(
                f"The image {path.name} has no labels: {partner.name} is missing in "
                f"{data.labels}."
            )
        image = _read_image(path)
        labels = np.asarray(imageio.imread(partner))
        if labels.shape != image.shape[:2]:
            raise ImageError(
                f"{path.name} is {image.shape[:2]}, but its labels are {labels.shape}."
            )
        pairs.append(LabelledImage(stem, _kind(image), image, labels.astype(np.int32)))
    if not pairs:
        raise ImageError(
            f"No image named {data.image_pattern} ending in {data.image_suffix} lies "
            f"in {data.images}."
        )
    return pairs


def split_pairs(
    pairs: Sequence[LabelledImage], data: PairedData
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split into training and validation images, kind by kind.

    The same files and the same seed give the same split. Every kind with two images
    or more has at least one on each side; images named in ``data.held_back`` join the
    validation side.

    Raises
    ------
    ImageError
        One side would be empty, or there is no image of a held back name.
    """
    rng = np.random.default_rng(data.split_seed)
    held = set(data.held_back)
    unknown = held - {pair.name for pair in pairs}
    if unknown:
        raise ImageError(
            f"held_back names {', '.join(sorted(unknown))}, but there is no such image."
        )
    for kind in sorted({pair.kind for pair in pairs}):
        names = sorted(pair.name for pair in pairs if pair.kind == kind)
        count = round(len(names) * data.validation)
        count = min(max(count, 1), len(names) - 1)
        held.update(names[i] for i in rng.permutation(len(names))[:count])
    train = [pair for pair in pairs if pair.name not in held]
    validation = [pair for pair in pairs if pair.name in held]
    if not train or not validation:
        raise ImageError("Training needs two labelled images of one kind at least.")
    return train, validation


def _scaled(image: NDArray[np.generic], recipe: IntensityRecipe) -> Tensor:
    """Scale by the recipe; mean and deviation come after augmentation."""
    plain = recipe.model_copy(update={"mean": 0.0, "std": 1.0})
    scaled = fit_intensity(plain, image, planes=False).apply(image)
    if scaled.ndim == 2:
        scaled = scaled[..., None]
    # Half precision: a thousandth of the range, far below the noise that is added.
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1))).half()


def _check_channels(pair: LabelledImage, card: ModelCard) -> None:
    given, wanted = (1 if pair.image.ndim == 2 else 3), len(card.channels)
    if given != wanted and not (given == 1 and card.repeat_grey):
        raise ImageError(
            f"{pair.name} has {given} channel(s), but the card takes {wanted}: convert "
            "the image, or change the card's channels."
        )


class CropStream(IterableDataset[dict[str, "Tensor"]]):
    """Endless stream of augmented crops.

    Parameters
    ----------
    images : sequence of LabelledImage
        The training side of the split.
    config : TrainConfig
        Crop size, augmentation, target; its data must be paired.
    card : ModelCard
        Channels, intensity recipe, output values.
    balance : float
        See `PairedData.balance`.
    start : int
        Steps that were done before; a resumed run sees other crops.
    rank : int
        Number of this process among those that train together.

    Yields
    ------
    dict
        ``image``: (C, crop, crop) float32, network input; ``target``: (crop, crop)
        int64, output numbers.
    """

    def __init__(
        self,
        images: Sequence[LabelledImage],
        config: TrainConfig,
        card: ModelCard,
        balance: float,
        start: int = 0,
        rank: int = 0,
    ) -> None:
        super().__init__()
        recipe = card.intensity
        for pair in images:
            _check_channels(pair, card)
        self._config = config
        self._card = card
        self._stream = (config.seed, start, rank)
        self._images = [_scaled(pair.image, recipe) for pair in images]
        self._labels = [torch.from_numpy(pair.labels) for pair in images]
        self._changes = IntensityChanges(
            config.augment,
            len(card.channels),
            repeat_grey=card.repeat_grey,
            clip=recipe.scale == "dtype" or (recipe.clip and recipe.scale != "none"),
        )
        kinds = [pair.kind for pair in images]
        weights = np.array([kinds.count(kind) ** -balance for kind in kinds])
        self._weights = weights / weights.sum()

    def begun_at(self, start: int) -> CropStream:
        """Return a stream of the same images after `start` steps."""
        other = copy(self)
        other._stream = (self._stream[0], start, self._stream[2])
        return other

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Start the stream; every worker process has its own."""
        worker = get_worker_info()
        rng = np.random.default_rng((*self._stream, worker.id if worker else 0))
        while True:
            yield self.sample(rng)

    def sample(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw one crop; the same generator state gives the same crop."""
        config, recipe = self._config, self._card.intensity
        chosen = int(rng.choice(len(self._images), p=self._weights))
        image, labels = random_crop(
            self._images[chosen],
            self._labels[chosen],
            config.crop,
            config.augment,
            rng,
            self._card.magnification,
        )
        image = (self._changes(image, rng) - recipe.mean) / recipe.std
        if config.target == "instance-boundary":
            target = boundary_target(labels.numpy(), config.rim, config.contact_rim)
        else:
            target = semantic_target(labels.numpy(), self._card.output_values)
        return {"image": image, "target": torch.from_numpy(target)}
