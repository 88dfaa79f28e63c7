from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.training.targets import boundary_target, semantic_target


def test_touching_objects_are_parted_and_the_picture_has_no_rim() -> None:
    labels = np.zeros((9, 16), np.int32)
    labels[:, 2:8] = 7
    labels[:, 8:14] = 300
    target = boundary_target(labels, rim=2)
    assert target.dtype == np.int64
    row = [0, 0, 2, 2, 1, 1, 2, 2, 2, 2, 1, 1, 2, 2, 0, 0]
    np.testing.assert_array_equal(target, np.tile(row, (9, 1)))


def test_rim_of_one_pixel() -> None:
    labels = np.zeros((5, 5), np.uint8)
    labels[1:4, 1:4] = 1
    target = boundary_target(labels, rim=1)
    wanted = np.zeros((5, 5), int)
    wanted[1:4, 1:4] = 2
    wanted[2, 2] = 1
    np.testing.assert_array_equal(target, wanted)


def test_every_object_keeps_an_inside() -> None:
    labels = np.zeros((12, 12), np.int32)
    labels[1:3, 1:3] = 1  # gone after one erosion: no rim
    labels[5:8, 5:8] = 2  # gone after two: a rim of one
    labels[5:8, 8:11] = 3
    target = boundary_target(labels, rim=2)
    assert (target[1:3, 1:3] == 1).all()
    assert target[6, 6] == 1 and target[6, 9] == 1
    assert (target[5:8, 5:8] == 1).sum() == 1


def test_no_background_and_no_object() -> None:
    full = np.ones((6, 6), np.int32)
    full[:, 3:] = 2
    assert set(np.unique(boundary_target(full, rim=1))) == {1, 2}
    assert not boundary_target(np.zeros((4, 4), np.int32)).any()


def test_semantic_values_become_outputs() -> None:
    labels = np.array([[0, 5], [9, 5]])
    np.testing.assert_array_equal(semantic_target(labels, (0, 9, 5)), [[0, 2], [1, 2]])
    np.testing.assert_array_equal(semantic_target(labels, (5,)), [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"\[9\]"):
        semantic_target(labels, (0, 5))


def test_wild_numbers_mean_the_same_objects() -> None:
    labels = np.zeros((12, 12), np.int64)
    labels[1:6, 1:6], labels[6:11, 1:6] = 1, 2
    wild = np.where(labels > 0, labels * 10**9, 0)
    np.testing.assert_array_equal(boundary_target(wild), boundary_target(labels))


def test_the_rim_is_wider_where_objects_touch() -> None:
    labels = np.zeros((9, 24), np.int32)
    labels[:, 2:12], labels[:, 12:22] = 1, 2
    target = boundary_target(labels, rim=1, contact_rim=4)
    side = [0, 0, 2, 1, 1, 1, 1, 1, 2, 2, 2, 2]
    np.testing.assert_array_equal(target, np.tile([*side, *side[::-1]], (9, 1)))


def test_an_object_beside_another_keeps_an_inside() -> None:
    labels = np.zeros((12, 20), np.int32)
    labels[3:8, 2:6], labels[1:11, 6:18] = 1, 2
    narrow = boundary_target(labels, rim=1)
    wide = boundary_target(labels, rim=1, contact_rim=6)
    small = labels == 1
    np.testing.assert_array_equal(wide[small], narrow[small])
    assert (wide == 1).sum() < (narrow == 1).sum()
