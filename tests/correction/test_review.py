from __future__ import annotations

import json

import numpy as np

from napari_medurwkv.correction.review import (
    ReviewMarks,
    doubtful_slices,
    next_ranked,
    next_slice,
    rank_slices,
    slices_with_islands,
    slices_with_label,
)


def labels():
    array = np.zeros((5, 6, 6), np.uint8)
    array[1, 1, 1] = 1
    array[3, 1, 1] = array[3, 4, 4] = 2
    return array


def test_slices_are_found_by_class():
    assert slices_with_label(labels(), 0).tolist() == [1, 3]
    assert slices_with_label(labels(), 0, 2).tolist() == [3]
    assert slices_with_label(labels(), 2, 2).tolist() == [1, 4]
    assert slices_with_islands(labels(), 0).tolist() == [3]
    assert slices_with_islands(labels(), 0, 1).tolist() == []


def test_a_small_doubt_counts_in_a_large_slice():
    doubt = np.zeros((4, 20, 20))
    doubt[2, 3:6, 3:6] = 0.9
    doubt[1] = 0.01
    assert doubtful_slices(doubt, 0).tolist() == [2, 1]
    assert doubtful_slices(doubt, 0, most=1).tolist() == [2]


def test_the_nearest_slice_beyond_is_next():
    assert next_slice([9, 2, 5], 2, 1) == 5
    assert next_slice([9, 2, 5], 5, -1) == 2
    assert next_slice([9, 2, 5], 9, 1) is None


def test_the_most_doubtful_slice_comes_first():
    assert rank_slices([0, 3.0, 1.0, float("nan"), 3.0]).tolist() == [1, 4, 2]
    assert rank_slices([]).tolist() == []


def test_a_ranking_is_gone_through_from_its_first():
    assert next_ranked([7, 2, 5], 0, 1) == 7
    assert next_ranked([7, 2, 5], 0, -1) == 7
    assert next_ranked([7, 2, 5], 7, 1) == 2
    assert next_ranked([7, 2, 5], 5, -1) == 2
    assert next_ranked([7, 2, 5], 5, 1) is None
    assert next_ranked([7, 2, 5], 7, -1) is None
    assert next_ranked([], 7, 1) is None


def test_marks_are_kept():
    marks = ReviewMarks(0, 5)
    marks.check(1)
    marks.correct(2, 4)
    marks.check(2)
    assert [marks[k] for k in range(len(marks))] == [
        "unseen",
        "checked",
        "corrected",
        "corrected",
        "unseen",
    ]
    again = ReviewMarks.from_json(json.loads(json.dumps(marks.to_json())))
    assert again.to_json() == marks.to_json()
    marks.forget(2)
    assert marks.count("corrected") == 1
    assert marks.count("unseen") == 3
