from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction.holes import fill_holes

from .conftest import blocks, flood, quick


def reference(labels, spacing, largest, unit):
    after = labels.copy()
    one = math.prod(spacing) if unit == "mm3" else 1
    for value in (1, 2, 3):
        numbers, count = flood(labels != value)
        inner = numbers[(slice(1, -1),) * labels.ndim]
        for i in range(1, count + 1):
            if (inner == i).sum() != (numbers == i).sum():
                continue  # it reaches the border
            hole = (numbers == i) & (labels == 0)
            if largest is None or hole.sum() * one <= largest:
                after[hole & (after == 0)] = value
    return after


@quick
@given(
    blocks(),
    st.none() | st.integers(0, 12),
    st.sampled_from(["mm3", "voxels"]),
)
def test_holes_are_what_does_not_reach_the_border(block, largest, unit):
    labels, spacing = block
    after = fill_holes(labels, spacing, largest=largest, unit=unit)
    expected = reference(labels, spacing, largest, unit)
    np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(after[labels != 0], labels[labels != 0])


@quick
@given(blocks(dims=(3,)), st.integers(0, 2), st.none() | st.integers(0, 12))
def test_slice_by_slice_is_2d_in_each_slice(block, axis, largest):
    labels, spacing = block
    after = fill_holes(labels, spacing, largest=largest, per_slice=axis)
    plane = [s for i, s in enumerate(spacing) if i != axis]
    for k in range(labels.shape[axis]):
        np.testing.assert_array_equal(
            after.take(k, axis),
            reference(labels.take(k, axis), plane, largest, "mm3"),
        )


def test_a_lesion_in_an_organ_stays_a_lesion():
    labels = np.ones((9, 9, 9), np.uint8)
    labels[[0, -1]] = labels[:, [0, -1]] = labels[:, :, [0, -1]] = 0
    labels[3:6, 3:6, 3:6] = 0
    labels[4, 4, 4] = 2
    after = fill_holes(labels, (1, 1, 1))
    assert after[4, 4, 4] == 2
    assert np.count_nonzero(after[1:-1, 1:-1, 1:-1] == 1) == 7**3 - 1
