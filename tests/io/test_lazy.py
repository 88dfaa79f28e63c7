"""Arrays that are read in parts, and pyramids of them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io import LazyArray, lazy_image
from napari_medurwkv.provenance import array_sha256


class Chunked:
    """An array on a disk, so to speak."""

    def __init__(self, array, chunks=None):
        self._array, self.chunks = array, chunks
        self.shape, self.dtype, self.read = array.shape, array.dtype, []

    def __getitem__(self, index):
        part = self._array[index]
        self.read.append(part.shape)
        return part


def test_parts_are_arrays_and_the_whole_is_refused():
    values = np.arange(63, dtype=np.uint8).reshape(9, 7)
    lazy = LazyArray([Chunked(values)])
    assert lazy.shape == (9, 7)
    assert len(lazy) == 9
    np.testing.assert_array_equal(lazy[2:5], values[2:5])
    with pytest.raises(ImageError, match="in parts only"):
        np.asarray(lazy)


def test_alpha_is_dropped():
    values = np.arange(9 * 7 * 4, dtype=np.uint8).reshape(9, 7, 4)
    image = lazy_image(Chunked(values))
    assert image.rgb
    assert image.array.shape == (9, 7, 3)
    np.testing.assert_array_equal(image.array[1:3], values[1:3, :, :3])


@pytest.mark.parametrize(
    ("wanted", "level"),
    [((100, 80), 0), ((51, 40), 0), ((50, 40), 1), ((26, 20), 1), ((25, 20), 2)],
)
def test_the_coarsest_level_that_is_fine_enough(wanted, level):
    shapes = [(100, 80), (50, 40), (25, 20)]
    levels = [Chunked(np.zeros(s, np.uint8)) for s in shapes]
    chosen = lazy_image(levels).array.level_for(wanted)
    assert chosen.shape == shapes[level]


@pytest.mark.parametrize("chunks", [None, (4, 3), ((4, 4, 1), (3, 3, 1))])
@pytest.mark.parametrize("size", [1, 20, 50, 1000])
def test_slabs_cover_the_first_axis_along_stored_pieces(chunks, size):
    values = np.arange(63, dtype=np.uint16).reshape(9, 7)
    lazy = LazyArray([Chunked(values, chunks)])
    slabs = list(lazy.slabs(size))
    np.testing.assert_array_equal(np.concatenate([lazy[s] for s in slabs]), values)
    assert all((s.stop - s.start) * 14 <= max(size, 14) for s in slabs)
    if chunks and size >= 4 * 14:
        assert all(s.start % 4 == 0 for s in slabs)


def test_its_fingerprint_is_that_of_the_same_array(monkeypatch):
    import napari_medurwkv.provenance as provenance

    monkeypatch.setattr(provenance, "_HASHED_AT_ONCE", 30)
    values = np.arange(63, dtype=np.uint16).reshape(9, 7)
    assert array_sha256(LazyArray([Chunked(values)])) == array_sha256(values)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        ([], "no level"),
        (np.zeros(3), "2 or 3 spatial axes"),
        (np.zeros((2, 3, 4, 5)), "2 or 3 spatial axes"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros((5, 3), complex), "not real numbers"),
        ([np.zeros((5, 3)), np.zeros(3)], "different numbers of axes"),
    ],
)
def test_what_cannot_be_an_image_gets_its_sentence(array, sentence):
    with pytest.raises(ImageError, match=sentence):
        lazy_image(array)
