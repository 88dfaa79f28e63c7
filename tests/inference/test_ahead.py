"""Items are made ahead, in order; errors come through; closing stops the thread."""

from __future__ import annotations

import threading

import pytest

from napari_medurwkv.inference.ahead import Ahead


def test_all_items_in_order():
    assert list(Ahead(range(100), depth=3)) == list(range(100))


def test_items_are_made_before_they_are_asked_for():
    made = threading.Event()

    def items():
        yield 1
        made.set()
        yield 2

    ahead = Ahead(items())
    assert made.wait(10)
    assert list(ahead) == [1, 2]


def test_an_error_is_raised_where_the_items_are_taken():
    def items():
        yield 1
        raise OSError("the disk is gone")

    taken = []
    with pytest.raises(OSError, match="the disk is gone"):
        for item in Ahead(items()):
            taken.append(item)
    assert taken == [1]


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_closing_ends_the_thread(taken):
    made = []

    def items():
        for number in range(10_000):
            made.append(number)
            yield number

    ahead = Ahead(items(), depth=2)
    items_taken = iter(ahead)
    for _ in range(taken):
        next(items_taken)
    ahead.close()
    assert not ahead._thread.is_alive()
    assert len(made) < 100
