from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction.relabel import (
    delete_classes,
    merge_classes,
    relabel,
    swap_classes,
)
from napari_medurwkv.errors import CorrectionError

from .conftest import blocks, quick


@quick
@given(
    blocks(),
    st.dictionaries(st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]),
    st.booleans(),
)
def test_all_numbers_change_at_once(block, mapping, dtype, fast):
    from napari_medurwkv.correction import components

    labels = block[0].astype(dtype)
    kept = dict(components._FAST)
    if not fast:
        components._FAST["fastremap"] = None
    try:
        after = relabel(labels, block[1], mapping=mapping)
    finally:
        components._FAST.clear()
        components._FAST.update(kept)
    expected = np.vectorize(lambda v: mapping.get(v, v), otypes=[dtype])(labels)
    assert after.dtype == dtype
    np.testing.assert_array_equal(after, expected)


def test_merge_delete_and_swap():
    labels = np.array([[0, 1, 2, 3]], np.uint8)
    merged = merge_classes(labels, (1, 1), classes=[1, 2], into=3)
    assert merged.tolist() == [[0, 3, 3, 3]]
    assert delete_classes(labels, (1, 1), classes=[2]).tolist() == [[0, 1, 0, 3]]
    assert swap_classes(labels, (1, 1), first=1, second=3).tolist() == [[0, 3, 2, 1]]


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(CorrectionError, match="cannot hold the label 256"):
        relabel(np.zeros((2, 2), np.uint8), (1, 1), mapping={1: 256})
