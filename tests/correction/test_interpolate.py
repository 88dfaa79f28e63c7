from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_medurwkv.correction.interpolate import (
    fill_between_slices,
    signed_distance,
)
from napari_medurwkv.errors import CorrectionError

from .conftest import SPACINGS, blocks, quick


def slow_distance(mask, spacing):
    half = min(spacing) / 2
    out = np.zeros(mask.shape)
    for index in np.ndindex(mask.shape):
        others = np.argwhere(mask != mask[index]) * np.asarray(spacing)
        away = np.sqrt(((np.asarray(index) * spacing - others) ** 2).sum(axis=1)).min()
        out[index] = half - away if mask[index] else away - half
    return out


@quick
@given(blocks(dims=(2,)))
def test_distances_are_signed(block):
    labels, spacing = block
    mask = labels == 1
    if mask.any() and not mask.all():
        np.testing.assert_allclose(
            signed_distance(mask, spacing), slow_distance(mask, spacing)
        )


@quick
@given(blocks(dims=(3,)), st.integers(0, 2), st.integers(2, 4))
def test_nothing_that_is_drawn_is_lost_and_only_gaps_are_filled(block, axis, step):
    labels, spacing = block
    stack = np.moveaxis(labels, axis, 0)
    kept = np.zeros_like(stack)
    kept[::step] = stack[::step]
    drawn = np.moveaxis(kept, 0, axis)
    after = fill_between_slices(drawn, spacing, axis=axis)
    np.testing.assert_array_equal(after[drawn != 0], drawn[drawn != 0])
    filled = np.moveaxis(after, axis, 0)
    for value in (1, 2, 3):
        held = np.flatnonzero((kept == value).any(axis=(1, 2)))
        outside = np.ones(len(filled), bool)
        if len(held):
            outside[held[0] : held[-1]] = False
        assert not (filled[outside] == value)[~(kept[outside] == value)].any()


@quick
@given(st.integers(0, 2), SPACINGS, SPACINGS, SPACINGS)
def test_a_cone_is_a_cone_again(axis, a, b, c):
    """Between a disc and a smaller one lie discs of the mean radii."""
    spacing = [a, b, c]
    y, x = np.ogrid[-20:21, -20:21]
    plane = [s for i, s in enumerate(spacing) if i != axis]
    away = np.sqrt((y * plane[0]) ** 2 + (x * plane[1]) ** 2)
    unit = min(plane)
    stack = np.zeros((5, 41, 41), np.uint8)
    stack[0], stack[4] = away <= 14 * unit, away <= 6 * unit
    after = fill_between_slices(np.moveaxis(stack, 0, axis), spacing, axis=axis)
    middle = np.moveaxis(after, axis, 0)[2]
    sure = np.abs(away - 10 * unit) > 1.5 * max(plane)
    np.testing.assert_array_equal((middle == 1)[sure], (away <= 10 * unit)[sure])


def test_the_mix_is_that_of_the_distances():
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(2, 24, 24)), (0, 4, 4))
    stack = np.zeros((4, 24, 24), np.uint8)
    stack[0] = noise[0] > np.quantile(noise[0], 0.4)
    stack[3] = noise[0] + 0.2 * noise[1] > np.quantile(noise[0], 0.5)
    after = fill_between_slices(stack, (2.0, 0.6, 0.9), axis=0)
    maps = [slow_distance(stack[k] == 1, (0.6, 0.9)) for k in (0, 3)]
    for k in (1, 2):
        mix = ((3 - k) * maps[0] + k * maps[1]) / 3
        np.testing.assert_array_equal(after[k] == 1, mix < -1e-6)


def test_shapes_that_do_not_overlap_are_followed():
    stack = np.zeros((5, 40, 40), np.uint8)
    stack[0, 4:10, 4:10] = 1
    stack[4, 24:30, 24:30] = 1
    after = fill_between_slices(stack, (1, 1, 1), axis=0)
    middle = np.argwhere(after[2])
    assert len(middle) == 36
    np.testing.assert_allclose(middle.mean(axis=0), (16.5, 16.5))


def test_other_labels_are_never_overwritten():
    stack = np.zeros((5, 9, 9), np.uint8)
    stack[0, 2:7, 2:7] = stack[4, 2:7, 2:7] = 1
    stack[2, 4, :] = 2
    after = fill_between_slices(stack, (1, 1, 1), axis=0)
    assert (after[2, 4] == 2).all()
    assert after[2, 3, 3] == 1


def test_several_classes_share_a_gap_by_depth():
    stack = np.zeros((3, 10, 20), np.uint8)
    stack[0, :, :10], stack[0, :, 10:] = 1, 2
    stack[2, :, :6], stack[2, :, 6:] = 1, 2
    after = fill_between_slices(stack, (1, 1, 1), axis=0)
    row = after[1, 5]
    assert row[:7].tolist() == [1] * 7
    assert row[9:].tolist() == [2] * 11


def test_a_class_that_is_not_on_a_key_slice_ends_there():
    stack = np.zeros((5, 21, 21), np.uint8)
    stack[0, 3:18, 3:18] = 1
    without = fill_between_slices(stack, (1, 1, 1), axis=0)
    np.testing.assert_array_equal(without, stack)
    after = fill_between_slices(stack, (1, 1, 1), axis=0, keys=[0, 4])
    areas = (after == 1).sum(axis=(1, 2))
    assert areas[0] > areas[1] > areas[2] > areas[3] > 0 == areas[4]


def test_a_picture_has_no_slices():
    with pytest.raises(CorrectionError, match="volume"):
        fill_between_slices(np.zeros((3, 3), np.uint8), (1, 1), axis=0)


def test_real_shapes_are_found_again(shared_data):
    """Every third slice of an expert's mask is enough: see benchmarks/correction.py."""
    import nibabel

    scores = []
    for path in sorted((shared_data / "hippocampus/labels").glob("*.nii.gz"))[:4]:
        image = nibabel.load(path)
        labels = np.asarray(image.dataobj).astype(np.uint8)
        spacing = image.header.get_zooms()[:3]
        kept = np.zeros_like(labels)
        kept[::3] = labels[::3]
        after = fill_between_slices(kept, spacing, axis=0)
        for value in (1, 2):
            both = np.count_nonzero((after == value) & (labels == value))
            total = np.count_nonzero(after == value) + np.count_nonzero(labels == value)
            scores.append(2 * both / total)
    assert np.mean(scores) > 0.88
