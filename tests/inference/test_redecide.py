"""Deciding again from 8 bits, against deciding from the probabilities themselves."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax

from napari_medurwkv.checkpoints import InstanceRecipe
from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference import probabilities as module
from napari_medurwkv.inference import segment
from napari_medurwkv.inference.decide import Decision
from napari_medurwkv.inference.keep import quantise
from napari_medurwkv.inference.probabilities import Rule
from napari_medurwkv.inference.redecide import Settings, decide_part, redecide


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)


def _rule(values, activation, threshold=0.5, shape=(40, 50)):
    box = tuple((0, n) for n in shape)
    return Rule("a" * 32, shape, box, values, activation, threshold, None, False)


def _logits(outputs, scale=3.0):
    generator = torch.Generator().manual_seed(outputs)
    return torch.randn(outputs, 200, 300, generator=generator) * scale


def _steps(card, logits, **options):
    decision = Decision(card, **{"interpolated": False, "inside": False, **options})
    scores = decision.scores(logits)
    return quantise(decision, scores).numpy(), decision.labels(scores)


@pytest.mark.parametrize("interpolated", [False, True])
@pytest.mark.parametrize("scale", [0.01, 3.0, 40.0])
@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2), (2, 0, 1), (0, 5, 300), (3, 7)])
def test_softmax_without_a_change_is_the_run_itself(values, scale, interpolated, card):
    """Also where all classes are about equally likely: rounding must not decide."""
    logits = _logits(len(values), scale)
    steps, labels = _steps(
        card(output_values=values), logits, interpolated=interpolated
    )
    again = decide_part(steps, _rule(tuple(sorted(values)), "softmax"), Settings())
    np.testing.assert_array_equal(again, labels)
    assert again.dtype == labels.dtype


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.333, 0.9])
@pytest.mark.parametrize("values", [(1,), (0, 1), (1, 2, 3)])
def test_sigmoid_without_a_change_is_the_run_itself(values, threshold, card):
    the_card = card(output_values=values, activation="sigmoid", threshold=threshold)
    # Many of them as close to the threshold as can be.
    logits = _logits(len(values), 0.01) + float(logit(threshold))
    steps, labels = _steps(the_card, logits)
    rule = _rule(values, "sigmoid", threshold)
    assert 0 < np.count_nonzero(labels) < labels.size
    np.testing.assert_array_equal(decide_part(steps, rule, Settings()), labels)


def _disagree_where_close(again, expected, margin):
    """8 bits may decide otherwise only where the exact numbers are close."""
    differ = again != expected
    assert differ.mean() < 0.02
    assert not differ[margin > 0.02].any()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_softmax_weights_as_from_float(temperature, card):
    logits = _logits(3)
    steps, _ = _steps(card(output_values=(0, 1, 2)), logits)
    weights = {0: 1.0, 1: 2.5, 2: 0.4}
    settings = Settings(None, weights, temperature)
    again = decide_part(steps, _rule((0, 1, 2), "softmax"), settings)
    p = (
        softmax(logits.numpy() / temperature, 0)
        * np.array([1, 2.5, 0.4])[:, None, None]
    )
    p /= p.sum(0)
    ordered = np.sort(p, 0)
    _disagree_where_close(again, p.argmax(0), ordered[-1] - ordered[-2])


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.8])
def test_softmax_threshold_is_on_the_foreground_together(threshold, card):
    logits = _logits(3)
    steps, _ = _steps(card(output_values=(0, 1, 2)), logits)
    again = decide_part(steps, _rule((0, 1, 2), "softmax"), Settings(threshold))
    p = softmax(logits.numpy(), 0)
    expected = np.where(p[1:].sum(0) > threshold, 1 + p[1:].argmax(0), 0)
    margin = np.minimum(abs(p[1:].sum(0) - threshold), abs(p[1] - p[2]))
    _disagree_where_close(again, expected, margin)


def test_two_classes_at_a_half_are_the_run_itself(card):
    steps, labels = _steps(card(), _logits(2))
    again = decide_part(steps, _rule((0, 1), "softmax"), Settings(0.5))
    np.testing.assert_array_equal(again, labels)


def test_sigmoid_threshold_weights_and_temperature_as_from_float(card):
    logits = _logits(2)
    the_card = card(output_values=(1, 2), activation="sigmoid")
    steps, _ = _steps(the_card, logits)
    settings = Settings(0.4, {1: 3.0}, 1.5)
    again = decide_part(steps, _rule((1, 2), "sigmoid"), settings)
    odds = np.exp(logits.numpy() / 1.5) * np.array([3.0, 1.0])[:, None, None]
    p = odds / (1 + odds)
    expected = np.where(p.max(0) > 0.4, 1 + p.argmax(0), 0)
    margin = np.minimum(abs(p.max(0) - 0.4), abs(p[0] - p[1]))
    _disagree_where_close(again, expected, margin)
    np.testing.assert_allclose(expit(np.log(odds)), p, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.5},
        {"threshold": -0.1},
        {"temperature": 0.0},
        {"weights": {1: 0.0}},
        {"weights": {1: float("inf")}},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ImageError):
        Settings(**wrong)


def test_settings_know_whether_they_change_anything():
    assert Settings().neutral
    assert Settings(weights={1: 1.0}).neutral
    assert not Settings(threshold=0.5).neutral
    assert not Settings(weights={1: 1.1}).neutral
    assert not Settings(temperature=2).neutral


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.5, 0.8, 1)])
def test_a_volume_is_decided_again_as_it_was(
    axis, spacing, volume_card, model, networks, image, rng
):
    picture = image(rng.random((12, 20, 17)).astype(np.float32), spacing)
    the_card = volume_card(slice_axis=axis, output_values=(0, 1, 2))
    fake = model(networks["convolution"](3, 3), the_card)
    result = segment(picture, fake, keep_probabilities=True)
    out = np.full(result.labels.shape, 9, np.uint8)
    assert redecide(result.probabilities, Settings(), out)
    np.testing.assert_array_equal(out, result.labels)
    assert redecide(result.probabilities, Settings(weights={2: 50.0}), out)
    assert (out == 2).mean() > (result.labels == 2).mean() + 0.1


def test_only_the_part_that_was_computed(volume_card, model, networks, image, rng):
    picture = image(rng.random((10, 40, 30)).astype(np.float32))
    fake = model(networks["convolution"](3, 2), volume_card())
    region = (slice(3, 7), slice(10, 35), slice(5, 20))
    result = segment(picture, fake, region=region, keep_probabilities=True)
    assert result.probabilities.array.shape == (2, 4, 25, 15)
    out = np.full(result.labels.shape, 9, np.uint8)
    redecide(result.probabilities, Settings(), out)
    np.testing.assert_array_equal(out, result.labels)
    assert result.labels[region].any()


def test_objects_are_told_apart_again(card, model, image, rng):
    recipe = InstanceRecipe(inside_channel=1, boundary_channel=2, seed_threshold=0.5)
    the_card = card(output_values=(0, 1, 1), instances=recipe)

    class Blobs(torch.nn.Module):
        def forward(self, x):
            return torch.cat([1 - 2 * x, 4 * x - 2, 2 * x - 1], 1) * 4

    field = np.kron(rng.random((8, 8)), np.ones((9, 9))).astype(np.float32)
    result = segment(
        image(field), model(Blobs(), the_card), instances=True, keep_probabilities=True
    )
    assert result.labels.max() > 3
    out = np.zeros(result.labels.shape, np.int32)
    redecide(result.probabilities, Settings(), out)
    np.testing.assert_array_equal(out, result.labels)
    redecide(result.probabilities, Settings(0.9), out)
    assert 0 < np.count_nonzero(out) < np.count_nonzero(result.labels)


def test_it_can_be_stopped(card, model, networks, image, rng):
    picture = image(rng.random((8, 20, 20)).astype(np.float32))
    fake = model(networks["threshold"](), card())
    result = segment(picture, fake, keep_probabilities=True)
    out = np.zeros(result.labels.shape, np.uint8)
    asked = []

    def cancel():
        asked.append(1)
        return len(asked) > 3

    assert not redecide(result.probabilities, Settings(), out, cancel=cancel)
    np.testing.assert_array_equal(out[:3], result.labels[:3])
    assert not out[3:].any()
    with pytest.raises(ImageError, match="shape"):
        redecide(result.probabilities, Settings(), out[1:])


def test_a_slice_is_quick():
    """512 x 512 with 15 classes; the bar is 100 ms, of a core."""
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 256, (15, 512, 512), dtype=np.uint8)
    rule = _rule(tuple(range(15)), "softmax", shape=(512, 512))
    settings = Settings(0.4, {3: 2.0}, 1.3)
    laps = []
    for _ in range(3):
        begun = time.thread_time()
        decide_part(steps, rule, settings)
        laps.append(time.thread_time() - begun)
    assert min(laps) < 0.1
