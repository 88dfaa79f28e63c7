from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.correction.cut import cut_polygon
from napari_medurwkv.errors import CorrectionError

CORNERS = [(2, 2), (2, 6), (6, 6), (6, 2)]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_polygon_goes_through_all_slices(axis):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (9, 9, 9)).astype(np.uint8)
    after = cut_polygon(labels, (1, 1, 1), corners=CORNERS, axis=axis, classes=[1])
    moved, before = np.moveaxis(after, axis, 0), np.moveaxis(labels, axis, 0)
    inner = (slice(None), slice(3, 6), slice(3, 6))
    assert not (moved[inner] == 1).any()
    np.testing.assert_array_equal(moved[inner] == 2, before[inner] == 2)
    outer = np.ones(before.shape, bool)
    outer[:, 2:7, 2:7] = False
    np.testing.assert_array_equal(moved[outer], before[outer])


def test_outside_can_be_cut_and_relabelled():
    labels = np.ones((9, 9), np.uint8)
    inside = cut_polygon(labels, (1, 1), corners=CORNERS, axis=None, into=2)
    outside = cut_polygon(
        labels, (1, 1), corners=CORNERS, axis=None, side="outside", into=2
    )
    np.testing.assert_array_equal(inside == 2, outside == 1)
    assert 9 <= np.count_nonzero(inside == 2) <= 25


def test_two_corners_are_no_polygon():
    with pytest.raises(CorrectionError, match="three corners"):
        cut_polygon(np.ones((5, 5), np.uint8), (1, 1), corners=CORNERS[:2], axis=None)
