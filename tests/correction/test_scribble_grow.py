from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.correction.scribble_grow import grow_from_scribbles
from napari_medurwkv.errors import CorrectionError


def scene(ndim):
    rng = np.random.default_rng(2)
    shape = (9, 30, 34)[-ndim:]
    image = rng.normal(0, 4, shape)
    inside = np.zeros(shape, bool)
    inside[(slice(2, 7), slice(8, 22), slice(10, 25))[-ndim:]] = True
    image[inside] += 60
    scribbles = np.full(shape, -1, np.int16)
    middle = (4,) * (ndim - 2)
    scribbles[(*middle, 15, slice(12, 20))] = 1
    scribbles[(*middle, slice(2, 28), 2)] = 0
    return image, inside, scribbles


@pytest.mark.parametrize("method", ["watershed", "random walker"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_strokes_spread_up_to_the_edges(method, ndim):
    image, inside, scribbles = scene(ndim)
    labels = np.zeros(image.shape, np.uint8)
    after = grow_from_scribbles(
        labels,
        (2.0, 1.0, 1.0)[-ndim:],
        image=image,
        scribbles=scribbles,
        method=method,
    )
    found = after == 1
    dice = 2 * (found & inside).sum() / (found.sum() + inside.sum())
    assert dice > 0.9
    assert after.dtype == labels.dtype


def test_other_classes_keep_their_voxels():
    image, _, scribbles = scene(2)
    labels = np.zeros(image.shape, np.uint8)
    labels[10:20, 12:14] = 3
    after = grow_from_scribbles(labels, (1, 1), image=image, scribbles=scribbles)
    np.testing.assert_array_equal(after == 3, labels == 3)


def test_one_kind_of_stroke_is_not_enough():
    image, _, scribbles = scene(2)
    scribbles[scribbles == 0] = -1
    with pytest.raises(CorrectionError, match="two kinds"):
        grow_from_scribbles(
            np.zeros(image.shape, np.uint8), (1, 1), image=image, scribbles=scribbles
        )
