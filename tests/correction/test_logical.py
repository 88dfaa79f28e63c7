from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction.logical import combine
from napari_medurwkv.errors import CorrectionError

from .conftest import blocks, quick

TABLE = {
    "copy": lambda a, b: b,
    "add": lambda a, b: a or b,
    "subtract": lambda a, b: a and not b,
    "intersect": lambda a, b: a and b,
    "invert": lambda a, b: not a,
}


@quick
@given(blocks(side=5), st.sampled_from(sorted(TABLE)), st.booleans(), st.integers(0, 9))
def test_operations_hold_voxel_by_voxel(block, operation, eat, seed):
    labels, spacing = block
    other = np.random.default_rng(seed).random(labels.shape) < 0.4
    over = (0, 2) if eat else (0,)
    after = combine(
        labels, spacing, operation=operation, target=1, other=other, over=over
    )
    for index in np.ndindex(labels.shape):
        before = labels[index]
        wanted = TABLE[operation](before == 1, other[index])
        if before == 1:
            assert after[index] == (1 if wanted else 0)
        else:
            assert after[index] == (1 if wanted and before in over else before)


def test_a_class_of_the_same_mask_gives_way_only_if_named():
    labels = np.array([[1, 2, 0]], np.uint8)
    kept = combine(labels, (1, 1), operation="add", target=1, modifier=2)
    np.testing.assert_array_equal(kept, labels)
    eaten = combine(labels, (1, 1), operation="add", target=1, modifier=2, over=(2,))
    assert eaten.tolist() == [[1, 1, 0]]


def test_what_is_missing_is_said():
    labels = np.zeros((2, 2), np.uint8)
    with pytest.raises(CorrectionError, match="other than background"):
        combine(labels, (1, 1), operation="invert", target=0)
    with pytest.raises(CorrectionError, match="either"):
        combine(labels, (1, 1), operation="add", target=1)
    with pytest.raises(CorrectionError, match="one grid"):
        combine(labels, (1, 1), operation="add", target=1, other=np.zeros(3, bool))
