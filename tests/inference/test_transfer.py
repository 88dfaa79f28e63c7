"""The score against a direct evidence, and its order against measured Dice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_medurwkv.checkpoints import IntensityRecipe, load_model
from napari_medurwkv.errors import CheckpointError, ImageError
from napari_medurwkv.inference.transfer import (
    Example,
    _coarse,
    encoder_of,
    features,
    log_me,
    score,
)
from napari_medurwkv.models import create_model

UNIT = IntensityRecipe(scale="percentile", low=0, high=100)


def direct_evidence(x: Any, y: Any, alpha: float, beta: float) -> float:
    """Density of the targets under the model, weights integrated out."""
    count = len(y)
    covariance = np.eye(count) / beta + x @ x.T / alpha
    _, logarithm = np.linalg.slogdet(covariance)
    distance = y @ np.linalg.solve(covariance, y)
    return float(-(count * np.log(2 * np.pi) + logarithm + distance) / 2 / count)


@pytest.mark.parametrize("width", [3, 60])
def test_it_is_the_largest_evidence(width: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, width))
    y = (x[:, 0] + 0.3 * rng.normal(size=40) > 0).astype(float)
    found = log_me(x, y[:, None])
    scaled = (x - x.mean(0)) / x.std(0)
    scaled = np.concatenate([scaled, np.ones((40, 1))], 1)
    grid = np.exp(np.linspace(-8, 8, 60))
    best = max(direct_evidence(scaled, y, a, b) for a in grid for b in grid)
    assert found == pytest.approx(best, abs=0.01)


def test_better_features_score_higher() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 300).astype(float)
    noise = rng.normal(size=(300, 8))
    scores = [log_me(noise + k * y[:, None], y[:, None]) for k in (0, 1, 3)]
    assert scores == sorted(scores)


def test_labels_are_taken_at_the_centres_of_the_cells() -> None:
    labels = np.arange(8)[:, None] * 10 + np.arange(12)
    np.testing.assert_array_equal(_coarse(labels), labels[2::4, 2::4])


def test_features_of_each_family() -> None:
    image = np.random.default_rng(0).random((40, 64))
    trunk: dict[str, Any] = {"img_size": 32, "embed_dim": 16, "depth": 2}
    adapter = trunk | {"conv_inplane": 4, "deform_num_heads": 2, "interactions": 2}
    for name, config, width in (
        ("vrwkv_classifier_tiny", trunk, 16),
        ("upernet_vrwkv_tiny", adapter | {"head_dim": 4}, 64),
        ("med_urwkv_nano", adapter | {"in_channels": 1}, 64),
        ("rwkv_unet_tiny", {}, 24 + 32 + 48 + 96 + 160),
    ):
        encoder = encoder_of(create_model(name, **config).eval())
        seen = features(encoder, image, UNIT)
        assert seen.shape == (width, 10, 16)
    with pytest.raises(CheckpointError, match="no encoder"):
        encoder_of(create_model("restore_rwkv", dim=8))


def test_one_class_cannot_be_scored() -> None:
    encoder = encoder_of(create_model("med_urwkv_nano").eval())
    example = Example(np.zeros((32, 32)), np.zeros((32, 32), int))
    with pytest.raises(ImageError, match="one class only"):
        score(encoder, [example], UNIT)


def nuclei(folder: Any, names: list[str]) -> list[Example]:
    from napari_medurwkv.io import read_image, read_labels

    found = []
    for name in names:
        image = read_image(folder / "images" / name).array
        labels = read_labels(folder / "labels" / name).array
        corner = (slice(256), slice(256))
        found.append(Example(image[corner], (labels[corner] > 0).astype(int)))
    return found


def probe_dice(
    encoder: Any, train: list[Example], test: list[Example], recipe: Any
) -> float:
    """Dice on other images of the best linear readout of an encoder's features."""

    def stacked(examples: list[Example]) -> tuple[Any, Any]:
        pairs = [
            (
                features(encoder, e.image, recipe).flatten(1).T.double().numpy(),
                _coarse(e.labels).ravel(),
            )
            for e in examples
        ]
        return np.concatenate([p[0] for p in pairs]), np.concatenate(
            [p[1] for p in pairs]
        )

    x, y = stacked(train)
    mean, std = x.mean(0), x.std(0) + 1e-9

    def lifted(x: Any) -> Any:
        return np.concatenate([(x - mean) / std, np.ones((len(x), 1))], 1)

    a = lifted(x)
    weights = np.linalg.solve(a.T @ a + 10 * np.eye(a.shape[1]), a.T @ y)
    other, truth = stacked(test)
    mask = lifted(other) @ weights > 0.5
    return float(2 * (mask & (truth > 0)).sum() / (mask.sum() + (truth > 0).sum()))


@pytest.mark.slow
def test_the_order_is_that_of_measured_dice(shared_data: Any) -> None:
    folder = shared_data / "nuclei"
    names = sorted(path.name for path in (folder / "images").glob("*.png"))
    names = [names[i] for i in np.random.default_rng(3).permutation(len(names))[:8]]
    # What is scored is seen by the probe too; Dice is measured on others.
    known, other = nuclei(folder, names[:4]), nuclei(folder, names[4:])
    torch.manual_seed(0)
    random = {
        "random nano": create_model("med_urwkv_nano"),
        "random, 2 blocks": create_model(
            "med_urwkv_nano", depth=2, interactions=2, embed_dim=32, conv_inplane=4
        ),
    }
    candidates = {
        name: (encoder_of(network.eval()), UNIT) for name, network in random.items()
    }
    for name in ("nuclei", "brain-tissue"):
        model = load_model(name)
        candidates[name] = (encoder_of(model.network), model.card.intensity)
    scores = {n: score(e, known, r).value for n, (e, r) in candidates.items()}
    dice = {n: probe_dice(e, known, other, r) for n, (e, r) in candidates.items()}
    by_score = sorted(candidates, key=scores.__getitem__)
    by_dice = sorted(candidates, key=dice.__getitem__)
    # The best is the best, and of all pairs at most one lies the other way round.
    assert by_score[-1] == by_dice[-1] == "nuclei"
    inverted = sum(
        (scores[a] - scores[b]) * (dice[a] - dice[b]) < 0
        for i, a in enumerate(by_score)
        for b in by_score[:i]
    )
    assert inverted <= 1
