from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction.islands import (
    keep_largest,
    keep_picked,
    remove_small,
    split_islands,
)
from napari_medurwkv.errors import CorrectionError

from .conftest import blocks, flood, quick


@quick
@given(blocks(), st.integers(1, 3), st.booleans())
def test_only_the_largest_islands_stay(block, count, corners):
    labels, spacing = block
    how = "corners" if corners else "faces"
    after = keep_largest(labels, spacing, count=count, connectivity=how)
    expected = labels.copy()
    for value in (1, 2, 3):
        numbers, n = flood(labels == value, corners)
        sizes = [(-(numbers == i).sum(), i) for i in range(1, n + 1)]
        for _, i in sorted(sizes)[count:]:
            expected[numbers == i] = 0
    np.testing.assert_array_equal(after, expected)
    again = keep_largest(after, spacing, count=count, connectivity=how)
    np.testing.assert_array_equal(again, after)


@quick
@given(blocks(), st.floats(0, 40), st.sampled_from(["mm3", "voxels"]))
def test_small_islands_go_by_volume_or_by_voxels(block, smallest, unit):
    labels, spacing = block
    after = remove_small(labels, spacing, smallest=smallest, unit=unit)
    one = math.prod(spacing) if unit == "mm3" else 1
    expected = labels.copy()
    for value in (1, 2, 3):
        numbers, n = flood(labels == value)
        for i in range(1, n + 1):
            if (numbers == i).sum() * one < smallest:
                expected[numbers == i] = 0
    np.testing.assert_array_equal(after, expected)


def test_an_island_of_exactly_the_size_stays():
    labels = np.zeros((5, 5), np.uint8)
    labels[1:3, 1:4] = 1
    after = remove_small(labels, (0.1, 0.1), smallest=0.06)
    np.testing.assert_array_equal(after, labels)


@quick
@given(blocks(), st.data())
def test_the_picked_island_stays_alone_in_its_class(block, data):
    labels, spacing = block
    points = np.argwhere(labels)
    if not len(points):
        return
    point = points[data.draw(st.integers(0, len(points) - 1))]
    value = labels[tuple(point)]
    numbers, _ = flood(labels == value)
    after = keep_picked(labels, spacing, point=point)
    np.testing.assert_array_equal(after == value, numbers == numbers[tuple(point)])
    others = labels != value
    np.testing.assert_array_equal(after[others], labels[others])


@quick
@given(blocks())
def test_split_islands_have_labels_of_their_own(block):
    labels, spacing = block
    after = split_islands(labels, spacing, value=2)
    numbers, count = flood(labels == 2)
    found = {tuple(np.unique(after[numbers == i])) for i in range(1, count + 1)}
    assert len(found) == count
    assert all(len(values) == 1 for values in found)
    np.testing.assert_array_equal(after[labels != 2], labels[labels != 2])
    if count:
        largest = max(range(1, count + 1), key=lambda i: ((numbers == i).sum(), -i))
        assert set(after[numbers == largest]) == {2}


def test_only_chosen_classes_are_treated():
    labels = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [2, 0, 2, 2]], np.uint8)
    after = keep_largest(labels, (1, 1), classes=[2])
    np.testing.assert_array_equal(after[0], labels[0])
    np.testing.assert_array_equal(after[2], [0, 0, 2, 2])


def test_what_cannot_be_done_is_said():
    labels = np.zeros((4, 4), np.uint8)
    with pytest.raises(CorrectionError, match="no label"):
        keep_picked(labels, (1, 1), point=(0, 0))
    with pytest.raises(CorrectionError, match="At least one"):
        keep_largest(labels, (1, 1), count=0)
    labels[::2, ::2] = 1
    with pytest.raises(CorrectionError, match="more than labels"):
        split_islands(labels, (1, 1), value=1, new_values=[2])
