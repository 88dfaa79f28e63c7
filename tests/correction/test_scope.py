from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction.boxes import full_box
from napari_medurwkv.correction.margin import grow, shrink
from napari_medurwkv.correction.scope import Scope, run_in_scope
from napari_medurwkv.correction.smooth import smooth
from napari_medurwkv.errors import CorrectionError

from .conftest import blocks, quick


@quick
@given(blocks(dims=(3,)), st.integers(0, 2), st.data())
def test_a_slice_is_a_picture(block, axis, data):
    labels, spacing = block
    index = data.draw(st.integers(0, labels.shape[axis] - 1))
    scope = Scope.slice(labels.shape, axis, index)
    after = run_in_scope(
        labels, scope, spacing, lambda part, b: grow(part, b.spacing, mm=1.5)
    )
    plane = [s for i, s in enumerate(spacing) if i != axis]
    expected = grow(labels.take(index, axis), plane, mm=1.5)
    np.testing.assert_array_equal(after.squeeze(axis), expected)
    assert after.shape == labels[scope.box].shape


@quick
@given(
    blocks(dims=(3,)),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(["grow", "shrink", "median", "gaussian", "joint", "opening"]),
    st.data(),
)
def test_a_slab_is_part_of_the_whole(block, axis, around, tool, data):
    """Within the slab, tools with a reach do what they do on the volume."""
    labels, spacing = block
    index = data.draw(st.integers(0, labels.shape[axis] - 1))
    scope = Scope.slab(labels.shape, axis, index, around)

    def work(part, spacing):
        if tool in ("grow", "shrink"):
            return (grow if tool == "grow" else shrink)(part, spacing, mm=1.5)
        return smooth(part, spacing, method=tool, mm=1.0)

    after = run_in_scope(
        labels, scope, spacing, lambda part, b: work(part, b.spacing), reach=7
    )
    np.testing.assert_array_equal(after, work(labels, spacing)[scope.box])


def test_other_arrays_are_cut_alike():
    array = np.arange(60).reshape(3, 4, 5)
    seen = []

    def tool(part, block):
        np.testing.assert_array_equal(block.of(array), part)
        seen.append((block.point((1, 2, 3)), block.origin))
        with pytest.raises(CorrectionError, match="outside"):
            block.point((0, 2, 9))
        return part

    run_in_scope(array, Scope.slice(array.shape, 0, 1), (1, 1, 1), tool)
    run_in_scope(array, Scope.volume(array.shape), (1, 1, 1), tool)
    assert seen == [((2, 3), (0, 0)), ((1, 2, 3), (0, 0, 0))]


def test_slabs_end_at_the_border_and_pictures_have_one_slice():
    assert Scope.slab((5, 4, 4), 0, 0, 2).box[0] == slice(0, 3)
    assert Scope.slice((4, 4), 0, 3).box == full_box((4, 4))
