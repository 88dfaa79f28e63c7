"""What is written into a mask on the disk appears at all its resolutions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_medurwkv.errors import OutputError
from napari_medurwkv.inference.mask_folder import new_mask_path
from napari_medurwkv.io import pyramid_mask
from napari_medurwkv.io.pyramid_mask import PyramidMask


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(pyramid_mask, "SMALLEST", 8)
    monkeypatch.setattr(pyramid_mask, "CHUNK", 16)


@pytest.mark.parametrize("seed", range(5))
def test_parts_in_any_order_make_every_level(small, tmp_path, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (67, 45)).astype(np.uint8)
    mask = PyramidMask.create(tmp_path / "mask", labels.shape, np.uint8)
    assert [level.shape for level in mask.levels] == [(67, 45), (17, 12), (5, 3)]
    edges = [0, *sorted(rng.choice(np.arange(1, 67), 9, replace=False)), 67]
    rows = list(itertools.pairwise(edges))
    for index in rng.permutation(len(rows)):
        first, end = rows[index]
        mask[first:end, 0:20] = labels[first:end, 0:20]
        mask[first:end, 20:45] = labels[first:end, 20:45]
    for level, step in zip(PyramidMask(mask.folder).levels, (1, 4, 16), strict=True):
        np.testing.assert_array_equal(level[...], labels[::step, ::step])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_of_a_volume_along_any_axis(small, tmp_path, axis):
    labels = np.random.default_rng(axis).integers(0, 5, (6, 19, 21)).astype(np.uint8)
    mask = PyramidMask.create(tmp_path / "mask", labels.shape, np.uint8)
    for plane in range(labels.shape[axis]):
        index = (*(slice(None),) * axis, plane)
        mask[index] = labels[index]
    for level, step in zip(mask.levels, (1, 4), strict=True):
        np.testing.assert_array_equal(level[...], labels[:, ::step, ::step])
    np.testing.assert_array_equal(mask[2:4, 3], labels[2:4, 3])


def test_it_is_emptied_and_removed(small, tmp_path):
    mask = PyramidMask.create(tmp_path / "mask", (30, 30), np.uint16)
    mask[:] = np.ones((30, 30), np.uint16)
    mask[...] = 0
    assert not any(level[...].any() for level in mask.levels)
    assert mask.nbytes == 1800
    with pytest.raises(OutputError, match="cannot be made"):
        PyramidMask.create(tmp_path / "mask", (30, 30), np.uint16)
    mask.remove()
    assert not mask.folder.exists()


def test_masks_of_programs_that_have_ended_go(tmp_path):
    ended, other = tmp_path / "999999999-abc", tmp_path / "notes"
    mine = new_mask_path(tmp_path)
    for folder in (ended, other, mine):
        folder.mkdir()
    new_mask_path(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([mine.name, "notes"])
