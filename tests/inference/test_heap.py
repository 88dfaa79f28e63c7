"""Freed memory is kept while there is work, and given back afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_medurwkv.inference import heap

SCRIPT = """
import sys
from napari_medurwkv.inference.heap import give_memory_back, keep_freed_memory
from napari_medurwkv.inference.memory import resident
assert keep_freed_memory()
import numpy as np
blocks = [np.ones(4 << 20, np.uint8) for _ in range(32)]
full = resident()
del blocks
kept = resident()
give_memory_back()
print(full - kept < 20e6, kept - resident() > 100e6)
"""


@pytest.mark.skipif(
    heap._libc() is None, reason="the system's library is not the GNU one"
)
def test_freed_memory_is_kept_and_given_back():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]


def test_other_systems_do_nothing(monkeypatch):
    monkeypatch.setattr(heap, "_libc", lambda: None)
    assert not heap.keep_freed_memory()
    heap.give_memory_back()


def test_an_old_library_that_refuses_is_left_alone(monkeypatch):
    asked = []

    class Old:
        def mallopt(self, which, size):
            asked.append((which, size))
            return int(size <= 32 << 20)

    monkeypatch.setattr(heap, "_libc", Old)
    assert not heap.keep_freed_memory()
    assert asked == [(-3, 256 << 20), (-3, 32 << 20), (-1, 512 << 20)]
