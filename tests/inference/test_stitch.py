"""The ring of rows gives what full accumulators give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.inference.stitch import BandStitcher
from napari_medurwkv.inference.windows import window_grid


def _gaussian(patch):
    place = np.arange(patch) - (patch - 1) / 2
    return np.exp(-0.5 * (place / (patch / 8)) ** 2)


def _run(stitcher, grid, windows):
    rows = []
    for i in range(len(grid.rows.starts)):
        for j in range(len(grid.columns.starts)):
            ready = stitcher.add(i, j, torch.from_numpy(windows[i, j]))
            if ready is not None:
                rows.append(ready)
    return rows


@pytest.mark.parametrize("overlap", [0, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(100, 77), (16, 12), (3, 90), (90, 3), (17, 13)])
def test_equals_full_accumulation(shape, overlap, rng):
    patch = (16, 12)
    grid = window_grid(shape, patch, overlap)
    count = (len(grid.rows.starts), len(grid.columns.starts))
    windows = rng.standard_normal((*count, 3, *patch)).astype(np.float32)

    total, norm = np.zeros((3, *shape)), np.zeros(shape)
    weight = np.outer(_gaussian(16), _gaussian(12))
    for i, y in enumerate(grid.rows.starts):
        for j, x in enumerate(grid.columns.starts):
            (a, b), (c, d) = grid.rows.covered(i), grid.columns.covered(j)
            inner = (slice(a - y, b - y), slice(c - x, d - x))
            total[:, a:b, c:d] += windows[i, j][:, *inner] * weight[inner]
            norm[a:b, c:d] += weight[inner]
    expected = total / norm

    stitcher = BandStitcher(grid, 3)
    for _ in range(2):  # the second plane finds the ring empty
        rows = _run(stitcher, grid, windows)
        assert [r[0] for r in rows] == [0, *[r[1] for r in rows[:-1]]]
        assert rows[-1][1] == shape[0]
        result = torch.cat([r[2] for r in rows], dim=1).numpy()
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_keeps_no_more_rows_than_a_window_has():
    grid = window_grid((1000, 50), (16, 12), 0.5)
    assert BandStitcher(grid, 3).band_shape == (3, 16, 50)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_no_mask(bad):
    grid = window_grid((16, 12), (16, 12), 0.5)
    window = torch.zeros(2, 16, 12)
    window[1, 3, 3] = bad
    with pytest.raises(MedurwkvError, match="infinite or undefined"):
        BandStitcher(grid, 2).add(0, 0, window)
