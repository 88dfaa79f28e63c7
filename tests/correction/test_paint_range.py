from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.correction.paint_range import in_range, suggest_range
from napari_medurwkv.errors import CorrectionError


def test_both_ends_belong_to_the_range():
    image = np.array([1, 2, 3, 4])
    assert in_range(image, 2, 3).tolist() == [False, True, True, False]
    assert not in_range(np.array([np.nan]), 0, 1).any()


def test_foreign_values_do_not_widen_the_range():
    values = np.random.default_rng(0).normal(100, 5, 2000)
    clean = suggest_range(values)
    dirty = suggest_range(np.append(values, [4000] * 40))
    np.testing.assert_allclose(clean, (90, 110), atol=1)
    np.testing.assert_allclose(dirty, clean, atol=1)


def test_even_areas_have_a_range_and_empty_ones_are_refused():
    assert suggest_range(np.full(9, 7)) == (7, 7)
    with pytest.raises(CorrectionError, match="no image"):
        suggest_range(np.array([np.nan]))
