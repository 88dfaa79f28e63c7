"""Parts of lazy arrays: pieces are read once, and turned views turn parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_medurwkv.io import lazy
from napari_medurwkv.io.lazy import LazyArray, chunk_sizes
from napari_medurwkv.io.turned import LazyFrame, TurnedArray


class Pieces:
    """An array that counts what is read of it."""

    def __init__(self, values, chunks):
        self.values, self.chunks = values, chunks
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim
        self.reads = []

    def __getitem__(self, index):
        part = self.values[index]
        self.reads.append(part.shape)
        return part


@pytest.fixture
def values():
    return np.arange(6 * 7 * 8).reshape(6, 7, 8)


def test_sizes_of_pieces_as_zarr_and_dask_say_them(values):
    assert chunk_sizes(Pieces(values, (2, 3, 4))) == (2, 3, 4)
    assert chunk_sizes(Pieces(values, ((4, 2), (7,), (8,)))) == (4, 7, 8)
    assert chunk_sizes(values) is None


def test_slices_through_pieces_read_each_piece_once(values):
    pieces = Pieces(values, (4, 7, 8))
    array = LazyArray([pieces])
    for k in range(6):
        np.testing.assert_array_equal(array[k], values[k])
        np.testing.assert_array_equal(array[k, 2:5], values[k, 2:5])
    assert pieces.reads == [(4, 7, 8), (2, 7, 8)]


def test_slices_across_read_each_piece_once(values):
    pieces = Pieces(values, (6, 7, 3))
    array = LazyArray([pieces])
    for k in range(8):
        np.testing.assert_array_equal(array[:, :, k], values[:, :, k])
    np.testing.assert_array_equal(array[-1, ..., 0:1][..., 0], values[-1, :, 0])
    assert pieces.reads[:3] == [(6, 7, 3), (6, 7, 3), (6, 7, 2)]


def test_pieces_too_large_to_keep_are_not_kept(values, monkeypatch):
    monkeypatch.setattr(lazy, "KEPT_BYTES", 100)
    pieces = Pieces(values, (4, 7, 8))
    array = LazyArray([pieces])
    np.testing.assert_array_equal(array[1], values[1])
    assert pieces.reads == [(7, 8)]


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_turned_parts_are_parts_of_the_turned(values, axes):
    for signs in itertools.product((1, -1), repeat=3):
        turned = values.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
        view = TurnedArray(
            Pieces(values, (2, 3, 4)), list(zip(axes, signs, strict=True))
        )
        assert view.shape == turned.shape
        assert view.chunks == tuple((2, 3, 4)[axis] for axis in axes)
        for index in (
            (),
            (slice(1, 4),),
            (2,),
            (slice(None), 3),
            (slice(0, 5, 2), slice(2, 3), -1),
            (slice(2, 2),),
        ):
            np.testing.assert_array_equal(view[index], turned[index])


def test_colours_stay_last():
    values = np.arange(4 * 5 * 3).reshape(4, 5, 3)
    view = TurnedArray(values, [(1, -1), (0, 1)])
    np.testing.assert_array_equal(view[1:3], values.transpose(1, 0, 2)[::-1][1:3])


def test_a_frame_of_a_series(values):
    frame = LazyFrame(Pieces(values, (1, 3, 4)), 2)
    assert (frame.shape, frame.chunks, len(frame)) == ((7, 8), (3, 4), 7)
    np.testing.assert_array_equal(frame[1:3, 2], values[2, 1:3, 2])
    np.testing.assert_array_equal(frame[4], values[2, 4])
