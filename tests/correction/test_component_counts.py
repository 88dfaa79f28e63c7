"""Islands counted plane by plane equal those of the whole, before and after edits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_medurwkv.correction.component_counts import (
    count_components,
    find_parts,
    mismatched,
)
from napari_medurwkv.correction.watch import Watch
from napari_medurwkv.errors import CancelledError

from .conftest import blocks, quick


def slow(labels):
    return {
        int(v): int(ndimage.label(labels == v)[1]) for v in np.unique(labels) if v != 0
    }


class Recording:
    """A mask that notes which planes are read."""

    def __init__(self, labels):
        self.labels, self.seen = labels, []
        self.ndim, self.shape = labels.ndim, labels.shape

    def __getitem__(self, k):
        self.seen.append(k)
        return self.labels[k]


@quick
@given(blocks())
def test_islands_are_those_of_the_whole(case):
    labels, _ = case
    assert count_components(find_parts(labels)) == slow(labels)


@quick
@given(blocks(dims=(3,)), st.integers(0, 2**32 - 1))
def test_after_edits_only_their_planes_are_looked_at(case, seed):
    labels, _ = case
    rng = np.random.default_rng(seed)
    parts = find_parts(labels)
    for _ in range(4):
        edited = labels.copy()
        planes = {int(k) for k in rng.integers(0, len(labels), 2)}
        for k in planes:
            edited[k] = rng.integers(0, 4, labels.shape[1:])
        recorded = Recording(edited)
        before = dict(parts)
        fresh = find_parts(recorded, parts, planes)
        assert parts == before  # what was known is left alone
        assert count_components(fresh) == slow(edited)
        near = {k + d for k in planes for d in (-1, 0, 1)}
        assert set(recorded.seen) <= near
        labels, parts = edited, fresh


def test_a_row_of_islands_that_meet_late_is_one():
    labels = np.zeros((3, 5, 5), np.uint8)
    labels[0, 0, ::2] = 1
    labels[1, 0, ::2] = 1
    assert count_components(find_parts(labels)) == {1: 3}
    labels[2, 0, :] = 1
    assert count_components(find_parts(labels, find_parts(labels), [2])) == {1: 1}


class Painted:
    """A mask of which a plane changes while another is looked at."""

    def __init__(self, labels, at, plane):
        self.labels, self.at, self.plane = labels, at, plane
        self.ndim, self.shape = labels.ndim, labels.shape

    def __getitem__(self, k):
        if k == self.at:
            self.labels[self.at] = self.plane
        return self.labels[k]


def test_planes_that_are_painted_on_meanwhile_are_told_and_looked_at_again():
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[:, 1:5, 1:5] = 1
    parts = find_parts(labels)
    assert mismatched(parts) == set()
    stripes = np.zeros((6, 6), np.uint8)
    stripes[1:5, ::2] = 1
    # Only plane 1 is said to have changed; 2 does while 1 is looked at.
    parts = find_parts(Painted(labels, 2, stripes), parts, {1})
    assert mismatched(parts) == {1, 2}
    parts = find_parts(labels, parts, mismatched(parts))
    assert mismatched(parts) == set()
    assert count_components(parts) == slow(labels)


def test_an_empty_mask_has_none():
    assert count_components(find_parts(np.zeros((3, 4, 5), np.uint8))) == {}
    assert count_components(find_parts(np.zeros((4, 5), np.uint8))) == {}


def test_labels_beyond_32_bits_and_objects_are_counted():
    labels = np.zeros((4, 6), np.int64)
    labels[0, :2] = 2**40
    labels[2, 3] = 2**40
    assert count_components(find_parts(labels)) == {2**40: 2}


def test_it_can_be_cancelled():
    with pytest.raises(CancelledError):
        find_parts(np.ones((3, 4, 5), np.uint8), watch=Watch(None, lambda: True))
