"""From outputs to mask values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medurwkv.checkpoints import InstanceRecipe
from napari_medurwkv.inference.decide import Decision, label_dtype


@pytest.fixture
def logits():
    return torch.randn(3, 20, 30, generator=torch.Generator().manual_seed(0)) * 3


def _decide(card, logits, **options):
    decision = Decision(card, **{"interpolated": False, "inside": False, **options})
    return decision.labels(decision.scores(logits))


@pytest.mark.parametrize("interpolated", [False, True])
@pytest.mark.parametrize("values", [(0, 1, 2), (2, 0, 1), (0, 5, 300), (7, 3, 9)])
def test_softmax_takes_the_most_probable_value(values, interpolated, card, logits):
    the_card = card(output_values=values)
    expected = np.array(values)[logits.argmax(0).numpy()]
    labels = _decide(the_card, logits, interpolated=interpolated)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == (np.uint16 if 300 in values else np.uint8)
    assert labels.dtype == label_dtype(the_card)


def test_probabilities_of_one_value_are_added(card, logits):
    p = logits.softmax(0).numpy()
    labels = _decide(card(output_values=(0, 1, 1)), logits)
    np.testing.assert_array_equal(labels, p[1] + p[2] > p[0])
    assert (labels != (logits.argmax(0).numpy() > 0)).any()


def test_ties_fall_to_the_smaller_value(card):
    for values in ((0, 1), (0, 1, 2), (0, 1, 1)):
        labels = _decide(card(output_values=values), torch.zeros(len(values), 1, 1))
        assert labels[0, 0] == (1 if values == (0, 1, 1) else 0)


@pytest.mark.parametrize("values", [(0, 1, 2), (3, 1, 2), (1, 1, 2)])
def test_sigmoid_needs_the_threshold(values, card, logits):
    the_card = card(output_values=values, activation="sigmoid", threshold=0.7)
    p = logits.sigmoid().numpy().astype(float)
    merged = {v: sum(p[i] for i in range(3) if values[i] == v) for v in values if v}
    names = sorted(merged)
    stack = np.stack([merged[v] for v in names])
    expected = np.where(stack.max(0) > 0.7, np.array(names)[stack.argmax(0)], 0)
    np.testing.assert_array_equal(_decide(the_card, logits), expected)


def test_sigmoid_with_one_output(card, logits):
    the_card = card(output_values=(4,), activation="sigmoid")
    expected = np.where(logits[:1].numpy()[0] > 0, 4, 0)
    np.testing.assert_array_equal(_decide(the_card, logits[:1]), expected)


def test_sigmoid_that_knows_background_only(card, logits):
    the_card = card(output_values=(0,), activation="sigmoid")
    assert not _decide(the_card, logits[:1]).any()


def test_interior_comes_along_in_255_steps(card, logits):
    recipe = InstanceRecipe(inside_channel=1, boundary_channel=2)
    the_card = card(output_values=(0, 1, 1), instances=recipe)
    decision = Decision(the_card, interpolated=False, inside=True)
    scores = decision.scores(logits)
    assert scores.shape[0] == 3
    inside = decision.inside(scores)
    assert inside.dtype == np.uint8
    expected = logits.softmax(0)[1].numpy() * 255
    np.testing.assert_allclose(inside, expected, atol=0.5001)
    np.testing.assert_array_equal(decision.labels(scores), _decide(the_card, logits))


def test_more_than_256_classes(card):
    values = tuple(range(300))
    logits = torch.zeros(300, 1, 3)
    logits[299, 0, 0] = logits[256, 0, 1] = logits[7, 0, 2] = 1
    labels = _decide(card(output_values=values), logits)
    np.testing.assert_array_equal(labels, [[299, 256, 7]])
