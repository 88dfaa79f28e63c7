"""Where windows lie and what they weigh."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.inference.windows import axis_windows, window_grid

CASES = [
    (n, p, o)
    for n in (1, 5, 31, 32, 33, 100, 257)
    for p in (8, 32)
    for o in (0, 0.25, 0.5, 0.7, 0.95)
]


@pytest.mark.parametrize(("length", "patch", "overlap"), CASES)
def test_windows_cover_the_axis_and_share_every_pixel(length, patch, overlap):
    windows = axis_windows(length, patch, overlap)
    total = np.zeros(length)
    for i, weights in enumerate(windows.weights):
        first, end = windows.covered(i)
        assert weights.min() > 0
        total[first:end] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    starts = np.array(windows.starts)
    assert windows.covered(len(starts) - 1)[1] == length
    if length > patch:
        assert starts[0] == 0
        assert starts[-1] == length - patch
        assert np.diff(starts).min() > 0
        assert patch - np.diff(starts).max() >= min(patch * overlap, patch - 1) - 1


@pytest.mark.parametrize(("length", "count"), [(32, 1), (33, 2), (48, 2), (49, 3)])
def test_no_more_windows_than_needed(length, count):
    assert len(axis_windows(length, 32, 0.5).starts) == count


def test_rounding_of_the_overlap_costs_no_window():
    # 10 * (1 - 0.7) is 2.9999... as a float.
    assert len(axis_windows(100, 10, 0.7).starts) == 31


def test_middle_of_a_window_outweighs_its_rim():
    windows = axis_windows(100, 32, 0.5)
    weights = windows.weights[1]
    assert weights[16] > 0.6
    assert weights[0] < 0.05


def test_final_rows_end_where_the_next_window_begins():
    windows = axis_windows(100, 32, 0.5)
    finals = [windows.final_after(i) for i in range(len(windows.starts))]
    assert finals == [*windows.starts[1:], 100]


@pytest.mark.parametrize("length", [1, 2, 5, 20, 31])
def test_small_image_lies_in_the_middle_and_is_reflected(length):
    windows = axis_windows(length, 32, 0.5)
    index = windows.reflection()
    before = -windows.starts[0]
    assert before == (32 - length) // 2
    np.testing.assert_array_equal(index[before : before + length], np.arange(length))
    if length == 20:
        np.testing.assert_array_equal(index, np.pad(np.arange(20), 6, "reflect"))
    np.testing.assert_array_equal(np.unique(index), np.arange(length))


def test_no_reflection_inside_a_large_image():
    assert axis_windows(32, 32, 0.5).reflection() is None


@pytest.mark.parametrize("overlap", [-0.1, 0.96, 1.0, float("nan")])
def test_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(MedurwkvError, match="overlap"):
        axis_windows(100, 32, overlap)


def test_grid_counts_its_windows():
    grid = window_grid((48, 33), (32, 32), 0.5)
    assert len(grid) == 4
