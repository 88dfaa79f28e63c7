"""Distances of surfaces and counts of lesions; MONAI is the judge."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_medurwkv.errors import GeometryError
from napari_medurwkv.measure import compare, lesion_agreement, surface_agreement

# MONAI 1.6 warns of its own calls of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy")


def monai_says(prediction, reference, spacing, tolerance):
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
        compute_surface_dice,
    )

    p, r = (
        torch.from_numpy(np.ascontiguousarray(m)[None, None]).float()
        for m in (prediction, reference)
    )
    both = {"include_background": True}
    spaced = both | {"spacing": list(spacing)}
    return {
        "dice": compute_dice(p, r, **both).item(),
        "iou": compute_iou(p, r, **both).item(),
        "hd": compute_hausdorff_distance(p, r, **spaced).item(),
        "hd95": compute_hausdorff_distance(p, r, percentile=95, **spaced).item(),
        "nsd": compute_surface_dice(
            p, r, [tolerance], use_subvoxels=True, **spaced
        ).item(),
        "assd": compute_average_surface_distance(p, r, symmetric=True, **spaced).item(),
    }


def assert_same(prediction, reference, spacing, tolerance):
    expected = monai_says(prediction, reference, spacing, tolerance)
    ours = compare(
        prediction.astype(np.uint8),
        reference.astype(np.uint8),
        spacing,
        tolerance=tolerance,
    )
    (row,) = ours.rows
    found = row.values | {"hd": row.surface.hd}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6, rel=1e-6), name


@pytest.mark.parametrize("seed", range(16))
def test_random_masks_agree_with_monai(seed):
    rng = np.random.default_rng(seed)
    ndim = 2 + seed % 2
    shape = rng.integers(9, 26, ndim)
    spacing = rng.uniform(0.3, 6, ndim)
    blobs = [gaussian_filter(rng.normal(size=shape), 1.4) > 0.03 for _ in range(2)]
    if seed % 4 == 1:
        blobs[1] = np.roll(blobs[0], 1, axis=0)
    assert_same(*blobs, spacing, float(rng.uniform(0.3, 5)))


def test_a_tolerance_that_is_a_sum_of_steps_counts_them():
    """3 x 0.3 is 0.8999... in double precision, but within 0.9 all the same."""
    mask = np.zeros((12, 9, 9), bool)
    mask[3:6, 3:6, 3:6] = True
    for steps in (1, 2, 3):
        moved = np.roll(mask, steps, axis=0)
        assert_same(mask, moved, (0.3, 0.3, 0.3), 0.3 * steps)
        assert_same(mask, moved, (0.3, 0.3, 0.3), 0.9)


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (0.7, 0.7, 5.0)])
def test_real_organs_agree_with_monai(shared_data, spacing):
    path = shared_data / "volumes" / "ct_abdomen_3mm_organs.nii.gz"
    labels = np.asarray(nib.load(path).dataobj).astype(np.int32)
    for value in np.unique(labels)[1:20:3]:
        organ = labels == value
        moved = np.roll(organ, (1, -2, 1), axis=(0, 1, 2))
        assert_same(moved, organ, spacing, 2.0)


def test_real_hippocampi_agree_with_monai(shared_data):
    files = sorted((shared_data / "hippocampus" / "labels").glob("*.nii.gz"))[:3]
    for path in files:
        labels = np.asarray(nib.load(path).dataobj).astype(np.uint8)
        drawn = labels == 1
        smooth = gaussian_filter(drawn.astype(np.float32), 1) > 0.5
        assert_same(smooth, drawn, (1.0, 1.2, 3.0), 1.0)


def test_a_turned_grid_gives_the_same_distances():
    rng = np.random.default_rng(3)
    p, r = (gaussian_filter(rng.normal(size=(9, 9, 9)), 1) > 0.1 for _ in range(2))
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    upright = surface_agreement(p, r, (1, 2, 3), tolerance=2)
    turned = surface_agreement(p, r, turn @ np.diag([1.0, 2, 3]), tolerance=2)
    assert turned.hd95 == pytest.approx(upright.hd95, rel=1e-6)
    assert turned.nsd == pytest.approx(upright.nsd, rel=1e-6)


def test_empty_masks_have_rules():
    nothing, something = np.zeros((5, 5), bool), np.eye(5, dtype=bool)
    neither = surface_agreement(nothing, nothing, (1, 1))
    assert math.isnan(neither.hd95) and math.isnan(neither.nsd)
    for pair in ((nothing, something), (something, nothing)):
        one = surface_agreement(*pair, (1, 1))
        assert (one.hd95, one.hd, one.nsd) == (math.inf, math.inf, 0)
    result = compare(np.zeros((5, 5), int), np.eye(5, dtype=int), (1, 1), values=(1, 2))
    first, second = result.rows
    assert (first.overlap.dice, second.overlap.dice) == (0, 1)
    assert result.mean("dice") == 0.5
    assert math.isnan(result.mean("hd95"))
    assert (result.counted("hd95"), result.counted("nsd")) == (0, 1)


def test_lesions_are_found_missed_and_invented():
    reference = np.zeros((12, 12), bool)
    reference[1:3, 1:3] = reference[5:7, 5:7] = reference[9:11, 9:11] = True
    prediction = np.zeros_like(reference)
    # Two pieces on one lesion; one that touches another by a corner only; one nowhere.
    prediction[1, 1] = prediction[2, 2] = True
    prediction[6, 6] = prediction[7, 7] = True
    prediction[0, 11] = True
    found = lesion_agreement(prediction, reference)
    assert (found.expected, found.predicted) == (3, 3)
    assert (found.found, found.missed, found.invented) == (2, 1, 1)
    assert found.sensitivity == pytest.approx(2 / 3)
    assert found.precision == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    empty = lesion_agreement(np.zeros((2, 2), bool), np.zeros((2, 2), bool))
    assert math.isnan(empty.f1) and math.isnan(empty.sensitivity)


def test_numbered_objects_are_counted_by_number():
    reference = np.zeros((6, 6), int)
    reference[0, 0], reference[0, 1], reference[5, 5] = 1, 2, 9
    prediction = np.zeros_like(reference)
    prediction[0, 0], prediction[3, 3] = 4, 5
    (row,) = compare(prediction, reference, (1, 1), instances=True).rows
    counts = row.lesions
    assert (counts.expected, counts.found, counts.invented) == (3, 1, 1)


def test_shapes_and_tolerance_must_fit():
    one, other = np.ones((2, 3), bool), np.ones((3, 2), bool)
    for check in (lesion_agreement, lambda p, r: surface_agreement(p, r, (1, 1))):
        with pytest.raises(GeometryError, match="different shapes"):
            check(one, other)
    with pytest.raises(GeometryError, match="tolerance"):
        surface_agreement(one, one, (1, 1), tolerance=-1)
