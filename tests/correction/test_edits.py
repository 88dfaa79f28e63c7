from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction import edits
from napari_medurwkv.correction.boxes import mask_box, shift_box
from napari_medurwkv.correction.edits import differences

from .conftest import blocks, quick


@quick
@given(blocks(), blocks(), st.integers(1, 200))
def test_a_difference_leads_there_and_back(first, second, slab):
    before = first[0]
    after = np.resize(second[0], before.shape)
    edits._SLAB_VOXELS = slab
    try:
        patches = differences(before, after)
    finally:
        edits._SLAB_VOXELS = 1 << 22
    array = before.copy()
    for patch in patches:
        patch.write(array, undo=False)
        assert patch.box == shift_box(
            mask_box(patch.where()), [s.start for s in patch.box]
        )
    np.testing.assert_array_equal(array, after)
    for patch in patches:
        patch.write(array, undo=True)
    np.testing.assert_array_equal(array, before)
    assert sum(p.count for p in patches) == np.count_nonzero(before != after)


def test_only_changed_voxels_are_written():
    before = np.zeros((6, 6), np.uint8)
    after = before.copy()
    after[1, 1] = after[3, 4] = 2
    (patch,) = differences(before, after)
    elsewhere = np.full((6, 6), 9, np.uint8)
    patch.write(elsewhere, undo=False)
    assert np.count_nonzero(elsewhere == 2) == 2
    assert np.count_nonzero(elsewhere == 9) == 34


def test_lazy_arrays_are_written_by_their_boxes():
    class Lazy:
        def __init__(self, values):
            self.values, self.shape = values, values.shape

        def __getitem__(self, box):
            return self.values[box].copy()

        def __setitem__(self, box, values):
            assert all(isinstance(s, slice) for s in box)
            self.values[box] = values

    before = np.zeros((4, 6, 6), np.uint8)
    after = before.copy()
    after[1, 1:4, 2] = 3
    after[2, 0, 0] = 1
    lazy = Lazy(before.copy())
    for patch in differences(before, after):
        patch.write(lazy, undo=False)
    np.testing.assert_array_equal(lazy.values, after)
    full = Lazy(before.copy())
    for patch in differences(before, np.ones_like(before)):
        patch.write(full, undo=False)
    assert (full.values == 1).all()


def test_a_shift_by_the_origin_names_the_place_in_the_whole():
    after = np.zeros((3, 3), np.uint8)
    after[1, 2] = 1
    (patch,) = differences(np.zeros((3, 3), np.uint8), after, (10, 20))
    assert patch.box == (slice(11, 12), slice(22, 23))


def test_a_stroke_takes_little():
    after = np.zeros((100, 100), np.uint8)
    after[20:60, 20:60] = 1
    (patch,) = differences(np.zeros_like(after), after)
    assert patch.nbytes < 600
