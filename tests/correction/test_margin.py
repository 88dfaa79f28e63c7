from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction.margin import grow, hollow, shrink
from napari_medurwkv.errors import CorrectionError

from .conftest import blocks, near, quick


def distances(labels, value, spacing):
    points = np.argwhere(labels == value) * np.asarray(spacing)
    out = np.full(labels.shape, np.inf)
    for index in np.ndindex(labels.shape):
        if len(points):
            away = (np.asarray(index) * spacing) - points
            out[index] = np.sqrt((away**2).sum(axis=1)).min()
    return out


@quick
@given(blocks(side=7), st.floats(0.1, 5), st.sampled_from([(0,), (0, 2)]))
def test_growing_gives_each_voxel_to_the_nearest_class(block, mm, over):
    labels, spacing = block
    classes = (1, 3)
    after = grow(labels, spacing, mm=mm, classes=classes, over=over)
    expected = labels.copy()
    away = np.stack([distances(labels, c, spacing) for c in classes])
    nearest = np.where(away[1] < away[0] * (1 - 1e-9), 3, 1)
    reached = away.min(axis=0) <= mm * (1 + 1e-6)
    change = reached & np.isin(labels, over)
    expected[change] = nearest[change]
    np.testing.assert_array_equal(after, expected)


@quick
@given(blocks(side=7), st.floats(0.1, 4))
def test_shrinking_takes_what_is_near_anything_else(block, mm):
    labels, spacing = block
    after = shrink(labels, spacing, mm=mm)
    expected = labels.copy()
    for value in (1, 2, 3):
        mask = labels == value
        expected[mask & near(~mask, mm, spacing)] = 0
    np.testing.assert_array_equal(after, expected)


@quick
@given(blocks(side=7), st.floats(0.5, 4), st.sampled_from(["inside", "outside"]))
def test_a_shell_lies_where_it_is_wanted(block, mm, shell):
    labels, spacing = block
    after = hollow(labels, spacing, mm=mm, classes=[1], shell=shell)
    mask = labels == 1
    if shell == "inside":
        expected = mask & near(~mask, mm, spacing)
    else:
        expected = near(mask, mm, spacing) & (labels == 0)
    np.testing.assert_array_equal(after == 1, expected)
    others = labels > 1
    np.testing.assert_array_equal(after[others], labels[others])


def test_a_shell_in_the_middle_goes_both_ways():
    labels = np.zeros((21, 21), np.uint8)
    labels[5:16, 5:16] = 1
    after = hollow(labels, (1, 1), mm=2, shell="middle")
    assert after[10].tolist() == [0] * 4 + [1, 1] + [0] * 9 + [1, 1] + [0] * 4


def test_no_distance_is_refused():
    with pytest.raises(CorrectionError, match="more than 0"):
        grow(np.zeros((3, 3), np.uint8), (1, 1), mm=0)
