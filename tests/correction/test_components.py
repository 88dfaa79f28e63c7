from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction import components
from napari_medurwkv.correction.components import component_sizes, label_components

from .conftest import flood, quick, small_masks


@quick
@given(mask=small_masks(), corners=st.booleans(), fast=st.booleans())
def test_components_are_those_of_a_walk_from_voxel_to_voxel(mask, corners, fast):
    kept = dict(components._FAST)
    if not fast:
        components._FAST["cc3d"] = None
    try:
        numbers, count = label_components(mask, "corners" if corners else "faces")
    finally:
        components._FAST.clear()
        components._FAST.update(kept)
    expected, wanted = flood(mask, corners)
    assert count == wanted
    np.testing.assert_array_equal(numbers, expected)
    np.testing.assert_array_equal(
        component_sizes(numbers, count), np.bincount(expected.ravel())
    )


@quick
@given(mask=small_masks(), corners=st.booleans())
def test_unordered_components_are_the_same_but_for_their_numbers(mask, corners):
    kind = "corners" if corners else "faces"
    numbers, count = label_components(mask, kind)
    unordered, same = label_components(mask, kind, ordered=False)
    assert same == count
    assert unordered.dtype == np.int32
    pairs = np.unique(np.stack([numbers.ravel(), unordered.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(numbers))
    np.testing.assert_array_equal(numbers > 0, unordered > 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_numbered_apart(axis):
    mask = np.ones((3, 4, 5), bool)
    _, count = label_components(mask, per_slice=axis)
    assert count == mask.shape[axis]


def test_optional_packages_are_there():
    # The suite's own installation brings them, so that both ways are tested.
    for name in ("cc3d", "edt", "fastremap"):
        assert components.fast_module(name) is not None
    assert components.fast_module("no_such_package_at_all") is None
