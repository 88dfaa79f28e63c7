from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import reconstruction

from napari_medurwkv.correction.components import label_components
from napari_medurwkv.correction.split import _dynamics, split_at_waists, split_by_line
from napari_medurwkv.errors import CorrectionError

from .conftest import blocks, quick


def two_balls(shape=(20, 40), centres=((10, 11), (10, 27)), radius=9.0):
    grid = np.indices(shape)
    labels = np.zeros(shape, np.uint8)
    for centre in centres:
        away = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        labels[away <= radius**2] = 1
    return labels


def test_a_line_cuts_an_object_in_two():
    labels = np.zeros((12, 20), np.uint8)
    labels[2:10, 2:18] = 1
    labels[0, 0] = 2
    after = split_by_line(
        labels, (1, 1), points=[(0, 6), (11, 6)], axis=None, new_value=3
    )
    assert set(after[2:10, 7:18].ravel()) == {1}
    assert set(after[2:10, 2:6].ravel()) == {3}
    assert set(after[2:10, 6].ravel()) <= {1, 3}
    np.testing.assert_array_equal(after != 0, labels != 0)
    assert after[0, 0] == 2


def test_the_cut_goes_straight_through_a_volume():
    labels = np.zeros((5, 12, 20), np.uint8)
    labels[1:4, 2:10, 2:18] = 1
    after = split_by_line(
        labels, (3, 1, 1), points=[(0, 0), (11, 12)], axis=0, new_value=2
    )
    for plane in (2, 3):
        np.testing.assert_array_equal(after[plane], after[1])
    assert set(np.unique(after)) == {0, 1, 2}
    assert (after == 1).sum() > (after == 2).sum()


def test_lines_that_cut_nothing_are_refused():
    labels = np.zeros((12, 20), np.uint8)
    labels[2:10, 2:18] = 1
    with pytest.raises(CorrectionError, match="crosses no label"):
        split_by_line(labels, (1, 1), points=[(0, 0), (0, 9)], axis=None, new_value=2)
    with pytest.raises(CorrectionError, match="outside to outside"):
        split_by_line(labels, (1, 1), points=[(4, 4), (4, 9)], axis=None, new_value=2)
    with pytest.raises(CorrectionError, match="cannot hold"):
        split_by_line(
            labels, (1, 1), points=[(0, 4), (11, 4)], axis=None, new_value=300
        )


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.8)])
def test_touching_balls_come_apart_at_the_waist(spacing):
    labels = two_balls()
    after = split_at_waists(labels, spacing, value=1, smallest_mm=1)
    assert set(np.unique(after)) == {0, 1, 2}
    np.testing.assert_array_equal(after != 0, labels != 0)
    left, right = after[10, 6], after[10, 32]
    assert left != right
    assert set(after[4:17, 3:15].ravel()) - {0} == {left}
    assert set(after[4:17, 24:36].ravel()) - {0} == {right}


def test_a_single_ball_stays_whole():
    labels = two_balls(centres=((10, 11),))
    after = split_at_waists(labels, (1, 1), value=1)
    np.testing.assert_array_equal(after, labels)
    np.testing.assert_array_equal(split_at_waists(labels, (1, 1), value=5), labels)


def test_balls_of_a_volume_come_apart():
    labels = two_balls((20, 20, 40), ((10, 10, 11), (10, 10, 27)))
    labels[0, 0, 0] = 7
    after = split_at_waists(labels, (1, 1, 1), value=1, smallest_mm=1)
    assert set(np.unique(after)) == {0, 1, 7, 8}


@quick
@given(blocks(classes=1, side=12), st.sampled_from([0.3, 1.0, 2.5, 50.0]))
def test_maxima_are_those_of_the_whole(block, height):
    """Looked for object by object, they equal those of all objects at once."""
    labels, spacing = block
    mask = np.pad(labels != 0, 1)
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    lowered = reconstruction(np.maximum(depth - height, 0), depth, method="dilation")
    least = min(height, depth.max()) * (1 - 1e-6)
    expected, wanted = label_components((depth - lowered >= least) & mask, "corners")
    if not mask.any():
        return
    found, count = _dynamics(depth, mask, height)
    assert count == wanted
    np.testing.assert_array_equal(found, expected)
