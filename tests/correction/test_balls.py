from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction import balls, components
from napari_medurwkv.correction.balls import dilate, erode, within

from .conftest import SPACINGS, near, quick, small_masks


@quick
@given(small_masks(), st.floats(0, 6), st.data())
def test_dilation_reaches_what_lies_within_the_radius(mask, radius, data):
    spacing = tuple(data.draw(SPACINGS) for _ in range(mask.ndim))
    expected = near(mask, radius, spacing)
    np.testing.assert_array_equal(dilate(mask, radius, spacing), expected)
    np.testing.assert_array_equal(within(mask, radius, spacing), expected)
    np.testing.assert_array_equal(
        erode(mask, radius, spacing), ~near(~mask, radius, spacing)
    )


@quick
@given(small_masks(), st.sampled_from([0.7, 1.4, 2.1, 3.0, 3.3]))
def test_a_multiple_of_the_voxel_size_is_reached_by_every_way(mask, radius):
    spacing = (0.7, 0.3, 1.1)[: mask.ndim]
    by_rows = dilate(mask, radius, spacing)
    np.testing.assert_array_equal(by_rows, near(mask, radius, spacing))
    kept = dict(components._FAST)
    for fast in (None, kept.get("edt") or components.fast_module("edt")):
        components._FAST["edt"] = fast
        np.testing.assert_array_equal(within(mask, radius, spacing), by_rows)


def test_large_balls_take_the_other_way(monkeypatch):
    mask = np.zeros((40, 40, 40), bool)
    mask[20, 20, 20] = True
    by_distance = dilate(mask, 15, (1, 1, 1))
    monkeypatch.setattr(balls, "_MOST_ROWS", 10**6)
    np.testing.assert_array_equal(dilate(mask, 15, (1, 1, 1)), by_distance)
