"""Copies are handed on in order."""

from __future__ import annotations

import pytest
import torch

from napari_medurwkv.inference.pending import MOST, Pending


def test_copies_from_the_cpu_arrive_at_once():
    pending = Pending()
    for i in range(3):
        pending.order((torch.tensor(i), torch.tensor(True)), lambda a, b: (int(a), b))
    assert [a for a, _ in pending.collect()] == [0, 1, 2]
    assert len(pending) == 0


class Event:
    """Says when it has happened."""

    def __init__(self, there):
        self.there, self.waited = there, False

    def query(self):
        return self.there

    def synchronize(self):
        self.waited = True


@pytest.fixture
def slow():
    from napari_medurwkv.inference.pending import _Copy

    def make(there):
        pending = Pending()
        for i, arrived in enumerate(there):
            copy = _Copy(Event(arrived), (torch.tensor(i),), int)
            pending._copies.append(copy)
        return pending

    return make


def test_what_has_not_arrived_holds_back_what_comes_after_it(slow):
    pending = slow([True, False, True])
    assert pending.collect() == [0]
    assert pending.collect() == []
    assert pending.collect(everything=True) == [1, 2]


def test_no_more_than_a_few_are_left_under_way(slow):
    pending = slow([False] * (MOST + 3))
    assert pending.collect() == [0, 1, 2]
    assert len(pending) == MOST
