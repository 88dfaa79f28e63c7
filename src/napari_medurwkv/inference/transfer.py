"""Score the features of encoders on labelled images, without any training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_medurwkv.errors import CheckpointError, ImageError
from napari_medurwkv.inference.intensity import fit_intensity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_medurwkv.checkpoints.card import IntensityRecipe

__all__ = ["Example", "Score", "encoder_of", "features", "log_me", "score"]

STRIDE = 4
"""Features and labels are compared at a quarter of the resolution."""

PIXELS = 4000
"""Of all images together; more change the score little and take longer."""

LARGEST_SIDE = 512
"""Larger images are cut to their middle."""

MOST_CLASSES = 16
"""Label images with more values number objects, and become foreground."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture and what every pixel of it is.

    Attributes
    ----------
    image : ndarray
        (rows, columns), or with a trailing axis of three colours.
    labels : ndarray of int
        (rows, columns).
    """

    image: NDArray[Any]
    labels: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Score:
    """How well the features of an encoder tell the classes apart.

    Attributes
    ----------
    value : float
        Logarithm of the evidence per pixel, mean over the classes; larger is better.
    pixels, classes, width : int
        How many were compared, and how wide the features are.
    """

    value: float
    pixels: int
    classes: int
    width: int


def encoder_of(network: nn.Module) -> nn.Module:
    """Return the part of a network that gives its features.

    Raises
    ------
    CheckpointError
        It has none: a restoration network knows no classes.
    """
    from napari_medurwkv.models import VRWKV, RWKVUNetEncoder, VRWKVAdapter

    for part in (
        network,
        getattr(network, "encoder", None),
        getattr(network, "backbone", None),
    ):
        if isinstance(part, VRWKV | VRWKVAdapter | RWKVUNetEncoder):
            return part
    raise CheckpointError(f"A {type(network).__name__} has no encoder to compare.")


@torch.inference_mode()
def features(
    encoder: nn.Module, image: NDArray[Any], recipe: IntensityRecipe
) -> Tensor:
    """Compute what an encoder sees at a quarter of the resolution.

    Parameters
    ----------
    encoder : torch.nn.Module
        Of `encoder_of`, in evaluation mode.
    image : ndarray
        (rows, columns), or with a trailing axis of three colours.
    recipe : IntensityRecipe
        From stored values to network input.

    Returns
    -------
    Tensor, shape (C, rows / 4, columns / 4)
        The maps of all its scales, one after the other, resized to one.
    """
    config: Any = encoder.config
    channels = int(config.in_channels)
    scaled = fit_intensity(recipe, image, planes=False).apply(image)
    if scaled.ndim == 3 and channels != 3:
        scaled = scaled.mean(-1)
    planes = scaled[None] if scaled.ndim == 2 else np.moveaxis(scaled, -1, 0)
    x = torch.from_numpy(np.ascontiguousarray(planes)).expand(channels, -1, -1)
    if recipe.channel_mean is not None and recipe.channel_std is not None:
        mean = torch.tensor(recipe.channel_mean)[:, None, None]
        x = (x - mean) / torch.tensor(recipe.channel_std)[:, None, None]
    size = (-(-image.shape[0] // STRIDE), -(-image.shape[1] // STRIDE))
    maps = [
        F.interpolate(level, size=size, mode="bilinear", align_corners=False)
        for level in encoder(x[None])
    ]
    return torch.cat(maps, 1)[0]


def score(
    encoder: nn.Module, examples: Sequence[Example], recipe: IntensityRecipe
) -> Score:
    """Score an encoder on a few labelled images.

    Parameters
    ----------
    encoder : torch.nn.Module
        Of `encoder_of`, in evaluation mode.
    examples : sequence of Example
        All with the same meaning of their labels.
    recipe : IntensityRecipe
        The encoder's.

    Raises
    ------
    ImageError
        There are no two classes in the labels.
    """
    rng = np.random.default_rng(0)
    rows, targets = [], []
    each = -(-PIXELS // max(1, len(examples)))
    for example in map(_prepared, examples):
        seen = features(encoder, example.image, recipe).flatten(1).T.double().numpy()
        shown = _coarse(example.labels).ravel()
        chosen = rng.permutation(len(shown))[:each]
        rows.append(seen[chosen])
        targets.append(shown[chosen])
    x, y = np.concatenate(rows), np.concatenate(targets)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ImageError(
            "The labels hold one class only: give images where the classes to be told "
            "apart both occur."
        )
    value = log_me(x, np.stack([y == k for k in classes], 1).astype(float))
    return Score(value, len(y), len(classes), x.shape[1])


def _prepared(example: Example) -> Example:
    """Cut to the middle, and take objects for foreground."""
    image, labels = example.image, example.labels
    cuts = tuple(
        slice((n - min(n, LARGEST_SIDE)) // 2, (n + min(n, LARGEST_SIDE)) // 2)
        for n in labels.shape
    )
    labels = labels[cuts]
    if len(np.unique(labels)) > MOST_CLASSES:
        labels = (labels > 0).astype(np.int64)
    return Example(image[cuts], labels)


def _coarse(labels: NDArray[Any]) -> NDArray[Any]:
    """Take the label at the centre of every cell of the features."""
    size = tuple(-(-n // STRIDE) for n in labels.shape)
    index = [
        np.minimum(((np.arange(cells) + 0.5) * n / cells).astype(int), n - 1)
        for cells, n in zip(size, labels.shape, strict=True)
    ]
    return labels[np.ix_(*index)]


def log_me(x: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Logarithm of the largest evidence of a linear model from features to targets.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Features. They are brought to one scale, and a constant is added.
    targets : ndarray, shape (N, K)
        What is to be told, one column per class.

    Returns
    -------
    float
        Per row, mean over the targets.

    References
    ----------
    You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer
    Learning", ICML 2021, algorithm 1: weights with the precision alpha, noise with the
    precision beta, both chosen so that the evidence is largest.
    """
    spread = x.std(0)
    x = (x - x.mean(0)) / np.where(spread > 0, spread, 1)
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    return float(
        np.mean(
            [_evidence(left, singular**2, y, x.shape[1]) for y in _columns(targets)]
        )
    )


def _columns(targets: NDArray[np.float64]) -> Iterable[NDArray[np.float64]]:
    return iter(targets.T)


def _evidence(
    left: NDArray[np.float64],
    eigenvalues: NDArray[np.float64],
    y: NDArray[np.float64],
    width: int,
) -> float:
    """Find alpha and beta by fixed-point steps; return the evidence per row."""
    count = len(y)
    projected = (left.T @ y) ** 2
    beyond = max(float(y @ y - projected.sum()), 1e-12)
    ratio, alpha, beta, moved, missed = 1.0, 1.0, 1.0, 0.0, beyond
    for _ in range(100):
        moved = float((eigenvalues * projected / (ratio + eigenvalues) ** 2).sum())
        missed = float((projected / (1 + eigenvalues / ratio) ** 2).sum()) + beyond
        effective = float((eigenvalues / (eigenvalues + ratio)).sum())
        alpha = effective / max(moved, 1e-12)
        beta = max(count - effective, 1e-6) / missed
        before, ratio = ratio, alpha / beta
        if abs(ratio - before) <= 1e-4 * before:
            break
    logs = np.log(alpha + beta * eigenvalues).sum()
    logs += (width - len(eigenvalues)) * np.log(alpha)
    total = width * np.log(alpha) + count * np.log(beta) - logs
    total -= beta * missed + alpha * moved + count * np.log(2 * np.pi)
    return float(total / (2 * count))
