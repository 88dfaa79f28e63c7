"""How one array was turned to become another."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medurwkv.io.match import apply_turn, matching_turns


@settings(max_examples=60, deadline=None)
@given(
    axes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([1, -1])] * 3),
    shape=st.tuples(*[st.integers(2, 5)] * 3),
    colour=st.booleans(),
)
def test_the_turn_is_found(axes, signs, shape, colour):
    array = np.arange(np.prod(shape) * 3).reshape(*shape, 3)
    array = array if colour else array[..., 0]
    turn = tuple(zip(axes, signs, strict=True))
    assert matching_turns(apply_turn(array, turn), array, colour=colour) == [turn]


def test_a_single_voxel_tells_turns_apart():
    array = np.zeros((40, 40, 40), np.uint8)
    array[3, 11, 29] = 1
    turn = ((2, -1), (0, 1), (1, -1))
    assert matching_turns(apply_turn(array, turn), array) == [turn]
    assert len(matching_turns(np.zeros_like(array), np.zeros_like(array))) == 48
    assert matching_turns(np.zeros_like(array), array) == []


def test_planes_and_other_shapes():
    plane = np.arange(12).reshape(3, 4)
    assert matching_turns(plane.T, plane) == [((1, 1), (0, 1))]
    assert matching_turns(plane, plane[:, :3]) == []
    assert matching_turns(plane, np.arange(24).reshape(2, 3, 4)) == []
    colour = np.arange(36).reshape(3, 4, 3)
    assert matching_turns(plane[..., None], colour, colour=True) == []


def test_a_symmetric_array_has_several():
    plane = np.array([[1, 2, 1], [3, 4, 3]])
    assert set(matching_turns(plane, plane)) == {
        ((0, 1), (1, 1)),
        ((0, 1), (1, -1)),
    }


def test_rounding_is_no_difference_but_one_step_of_an_integer_is():
    exact = np.random.default_rng(0).normal(size=(4, 5, 6))
    assert len(matching_turns(exact, exact.astype(np.float32))) == 1
    assert matching_turns(exact + 0.01, exact) == []
    whole = np.random.default_rng(0).integers(0, 60000, (4, 5, 6))
    assert len(matching_turns(whole.astype(float), whole)) == 1
    other = whole.astype(float)
    other[0, 0, 0] += 1
    assert matching_turns(other, whole) == []
