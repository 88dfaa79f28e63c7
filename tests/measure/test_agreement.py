"""Agreement against references that are slow and plain."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy import ndimage

from napari_medurwkv.errors import GeometryError
from napari_medurwkv.measure import aggregated_jaccard, agreement


def _slow_aji(prediction, reference):
    """The definition, with masks and loops."""
    p_ids = [i for i in np.unique(prediction) if i]
    r_ids = [i for i in np.unique(reference) if i]
    common = union = 0
    used = set()
    for r in r_ids:
        best = (0.0, None, 0, (reference == r).sum())
        for p in p_ids:
            both = ((prediction == p) & (reference == r)).sum()
            either = ((prediction == p) | (reference == r)).sum()
            if both and both / either > best[0]:
                best = (both / either, p, both, either)
        common, union = common + best[2], union + best[3]
        used.add(best[1])
    union += sum((prediction == p).sum() for p in p_ids if p not in used)
    return common / union


def _objects(seed, shape=(60, 70)):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    return ndimage.label(field > 0.05)[0]


@pytest.mark.parametrize("seed", range(6))
def test_aji_is_its_definition(seed):
    reference = _objects(seed)
    for prediction in (
        reference,
        np.roll(reference, 2, 0),
        _objects(seed + 100),
        np.where(reference % 3 == 0, 0, reference),
        (reference > 0).astype(int),
    ):
        expected = _slow_aji(prediction, reference)
        assert aggregated_jaccard(prediction, reference) == pytest.approx(expected)
    assert aggregated_jaccard(reference, reference) == 1


def test_aji_does_not_care_about_numbers():
    reference = _objects(0)
    prediction = np.roll(reference, 1, 1)
    new = np.random.default_rng(0).permutation(10**6)[: prediction.max() + 1] + 2**33
    new[0] = 0
    assert aggregated_jaccard(new[prediction], reference) == pytest.approx(
        aggregated_jaccard(prediction, reference)
    )


def test_sparse_and_full_tables_agree(monkeypatch):
    module = importlib.import_module("napari_medurwkv.measure.agreement")
    reference, prediction = _objects(0), _objects(1)
    full = agreement(prediction, reference, instances=True)
    monkeypatch.setattr(module, "SMALL_TABLE", 1)
    assert agreement(prediction, reference, instances=True) == full


def test_aji_of_a_case_worked_out_by_hand():
    reference = np.array([[1, 1, 1, 1, 0, 0, 2, 2, 0, 0]])
    prediction = np.array([[3, 3, 3, 0, 0, 0, 0, 4, 4, 9]])
    # 3 of 4, 1 of 3, and one predicted pixel that is joined with nothing.
    assert aggregated_jaccard(prediction, reference) == pytest.approx(4 / (4 + 3 + 1))


@pytest.mark.parametrize("spacing", [None, (2, 0.5, 0.5)])
def test_dice_and_iou_are_their_definitions(spacing):
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 4, (10, 12, 14)).astype(np.uint8)
    prediction = np.where(rng.random(reference.shape) < 0.6, reference, 2)
    result = agreement(prediction, reference, spacing)
    assert [c.value for c in result.classes] == [1, 2, 3]
    for c in result.classes:
        p, r = prediction == c.value, reference == c.value
        assert c.dice == pytest.approx(2 * (p & r).sum() / (p.sum() + r.sum()))
        assert c.iou == pytest.approx((p & r).sum() / (p | r).sum())
        size = 1 if spacing is None else 0.5
        assert c.predicted == pytest.approx(p.sum() * size)
        assert c.expected == pytest.approx(r.sum() * size)
    assert result.aji is None
    assert result.mean_dice == pytest.approx(np.mean([c.dice for c in result.classes]))


def test_slabs_add_up(monkeypatch):
    module = importlib.import_module("napari_medurwkv.measure.agreement")
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 30, 40))
    whole = agreement(a, b)
    monkeypatch.setattr(module, "SLAB_VALUES", 7)
    assert agreement(a, b) == whole


def test_empty_masks_follow_the_rules():
    nothing, something = np.zeros((5, 5), int), np.ones((5, 5), int)
    both = agreement(nothing, nothing, values=[1]).classes[0]
    assert (both.dice, both.iou) == (1, 1)
    for pair in ((nothing, something), (something, nothing)):
        one = agreement(*pair, values=[1]).classes[0]
        assert (one.dice, one.iou) == (0, 0)
        assert aggregated_jaccard(*pair) == 0
    assert aggregated_jaccard(nothing, nothing) == 1
    assert agreement(nothing, nothing).mean_dice == 1
    assert agreement(nothing[:0], nothing[:0]).classes == ()


def test_objects_are_compared_as_foreground_too():
    reference, prediction = _objects(0), _objects(1)
    (c,) = agreement(prediction, reference, instances=True).classes
    p, r = prediction > 0, reference > 0
    assert c.dice == pytest.approx(2 * (p & r).sum() / (p.sum() + r.sum()))


def test_masks_must_share_a_grid():
    with pytest.raises(GeometryError, match="different shapes"):
        agreement(np.zeros((3, 4), int), np.zeros((4, 3), int))
    with pytest.raises(GeometryError, match="spacing"):
        agreement(np.zeros((3, 4), int), np.zeros((3, 4), int), (1, 1, 1))
