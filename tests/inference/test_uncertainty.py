"""How unsure a run was, per voxel and per slice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from napari_medurwkv.errors import OutputError
from napari_medurwkv.inference import segment
from napari_medurwkv.inference.uncertainty import most_uncertain


class Logits(torch.nn.Module):
    """Gives the image as the logit of class 1, against 0."""

    def forward(self, x):
        x = x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1]
        return torch.cat([torch.zeros_like(x), x], 1)


class Lopsided(torch.nn.Module):
    """Answers by the column: mirror images get other answers."""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, x):
        ramp = torch.linspace(-1, 1, x.shape[-1]).expand_as(x[:, :1])
        return torch.cat([torch.zeros_like(ramp), ramp * self.gain], 1)


def _entropy(p):
    return -(p * np.log(np.maximum(p, 1e-30))).sum(0) / np.log(len(p))


def test_entropy_of_two_classes(card, model, image, rng):
    field = (rng.standard_normal((50, 60)) * 3).astype(np.float32)
    result = segment(image(field), model(Logits(), card()), uncertainty=True)
    expected = _entropy(softmax(np.stack([0 * field, field]), 0))
    found = result.uncertainty.entropy
    assert found.dtype == np.uint8
    assert result.uncertainty.disagreement is None
    np.testing.assert_allclose(found / 255, expected, atol=0.003)
    # Averaged windows of a network that sees single pixels are that network.
    assert result.record.uncertainty.mean == pytest.approx(expected.mean(), abs=0.003)
    assert result.record.uncertainty.slices == ()


def test_entropy_of_independent_outputs_is_the_largest(card, model, image, rng):
    field = rng.standard_normal((40, 40)).astype(np.float32)
    the_card = card(output_values=(1, 2), activation="sigmoid")
    found = segment(image(field), model(Logits(), the_card), uncertainty=True)
    # One output is always at a half.
    assert (found.uncertainty.entropy == 255).all()


def test_nothing_of_it_unless_it_was_asked_for(card, model, image):
    result = segment(image(np.zeros((40, 40), np.float32)), model(Logits(), card()))
    assert result.uncertainty is None
    assert result.record.uncertainty is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_summed_along_every_axis(axis, volume_card, model, image, rng):
    field = (rng.standard_normal((9, 15, 12)) * 2).astype(np.float32)
    the_card = volume_card(slice_axis=axis)
    result = segment(
        image(field, (1.7, 0.8, 1)), model(Logits(), the_card), uncertainty=True
    )
    entropy = result.uncertainty.entropy / 255
    for own, sums in enumerate(result.record.uncertainty.slices):
        others = tuple(k for k in range(3) if k != own)
        np.testing.assert_allclose(sums, entropy.sum(others), atol=0.006)
    assert result.record.uncertainty.mean == pytest.approx(entropy.mean(), abs=1e-5)


def test_of_a_part_the_rest_is_certain(volume_card, model, image, rng):
    field = rng.standard_normal((8, 40, 40)).astype(np.float32)
    fake = model(Logits(), volume_card())
    region = (slice(2, 5), slice(3, 30), slice(10, 40))
    whole = segment(image(field), fake, uncertainty=True)
    part = segment(image(field), fake, uncertainty=True, region=region)
    expected = np.zeros_like(whole.uncertainty.entropy)
    expected[region] = whole.uncertainty.entropy[region]
    np.testing.assert_array_equal(part.uncertainty.entropy, expected)
    for own, sums in enumerate(part.record.uncertainty.slices):
        others = tuple(k for k in range(3) if k != own)
        np.testing.assert_allclose(sums, (expected / 255).sum(others), atol=0.006)
    mean = expected[region].mean() / 255
    assert part.record.uncertainty.mean == pytest.approx(mean, abs=1e-5)


def test_a_network_that_flips_cannot_disturb_agrees_with_itself(
    card, model, image, rng
):
    field = rng.standard_normal((40, 40)).astype(np.float32)
    result = segment(image(field), model(Logits(), card()), tta=True, uncertainty=True)
    assert not result.uncertainty.disagreement.any()
    plain = segment(image(field), model(Logits(), card()))
    np.testing.assert_array_equal(result.labels, plain.labels)


def test_disagreement_of_mirror_images(card, model, image):
    """Two answers p and 1 - p, twice each: each is |p - 1/2| from their mean."""
    field = np.zeros((32, 32), np.float32)
    result = segment(
        image(field), model(Lopsided(6.0), card()), tta=True, uncertainty=True
    )
    p = 1 / (1 + np.exp(-np.linspace(-1, 1, 32) * 6.0))
    expected = np.broadcast_to(abs(p - 0.5), (32, 32))
    np.testing.assert_allclose(
        result.uncertainty.disagreement / 255, expected, atol=0.003
    )
    assert (result.uncertainty.entropy == 255).all()


def test_disagreement_comes_through_interpolation(volume_card, model, image):
    field = np.zeros((6, 32, 32), np.float32)
    result = segment(
        image(field, (2.0, 1, 1)),
        model(Lopsided(6.0), volume_card()),
        tta=True,
        uncertainty=True,
    )
    p = 1 / (1 + np.exp(-np.linspace(-1, 1, 32) * 6.0))
    found = result.uncertainty.disagreement / 255
    np.testing.assert_allclose(
        found, np.broadcast_to(abs(p - 0.5), found.shape), atol=0.003
    )


def test_an_array_of_ones_own_is_filled(card, model, image, rng):
    field = rng.standard_normal((40, 30)).astype(np.float32)
    mine = np.full((1, 40, 30), 3, np.uint8)
    result = segment(image(field), model(Logits(), card()), uncertainty=mine)
    assert np.shares_memory(result.uncertainty.entropy, mine)
    expected = segment(image(field), model(Logits(), card()), uncertainty=True)
    np.testing.assert_array_equal(mine[0], expected.uncertainty.entropy)
    with pytest.raises(OutputError, match=r"\(2, 40, 30\)"):
        segment(image(field), model(Logits(), card()), tta=True, uncertainty=mine)


def test_the_most_uncertain_slice_comes_first():
    assert most_uncertain([0.0, 2.5, 0.1, 2.5, 7]) == [4, 1, 3, 2]
    assert most_uncertain([]) == []
