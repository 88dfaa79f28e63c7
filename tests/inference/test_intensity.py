"""From stored values to network input."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.checkpoints import IntensityRecipe
from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference import fit_intensity
from napari_medurwkv.inference.intensity import SAMPLE_VALUES

PERCENTILE = IntensityRecipe(scale="percentile", low=1, high=99)


def _apply(recipe, array):
    return fit_intensity(recipe, array, planes=array.ndim == 3).apply(array)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.uint8, 255), (np.uint16, 65535), (np.int16, None), (np.uint32, 2**32 - 1)],
)
def test_dtype_divides_by_the_types_range(dtype, expected):
    info = np.iinfo(dtype)
    array = np.array([[info.min, info.max, 7]], dtype)
    scaled = _apply(IntensityRecipe(scale="dtype"), array)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled[0, :2], [0, 1])
    if expected:
        np.testing.assert_allclose(scaled[0, 2], 7 / expected, rtol=1e-6)


def test_dtype_leaves_pictures_in_floats_alone_and_scales_others():
    recipe = IntensityRecipe(scale="dtype")
    array = np.array([[0.2, 0.4]], np.float32)
    np.testing.assert_array_equal(_apply(recipe, array), array)
    np.testing.assert_allclose(_apply(recipe, array * 100 - 30), [[0, 1]])
    np.testing.assert_array_equal(_apply(recipe, np.array([[True, False]])), [[1, 0]])


@pytest.mark.parametrize("shape", [(40, 50), (6, 20, 30), (40, 50, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_percentiles_are_numpys(shape, dtype, rng):
    array = (rng.random(shape) * 250).astype(dtype)
    low, high = np.percentile(array.astype(float), [1, 99])
    scaled = _apply(PERCENTILE, array)
    expected = np.clip((array.astype(float) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_percentiles_may_leave_the_background_out(rng):
    array = rng.random((50, 50)).astype(np.float32) + 5
    array[:25] = -3
    recipe = PERCENTILE.model_copy(update={"nonzero": True})
    scale = fit_intensity(recipe, array, planes=False)
    low, high = np.percentile(array[25:], [1, 99])
    np.testing.assert_allclose([scale.low, scale.high], [low, high], rtol=1e-6)


def test_window_and_what_lies_beyond_it():
    recipe = IntensityRecipe(scale="window", low=-100, high=300)
    array = np.array([[-1000, -100, 100, 300, 2000]], np.int16)
    np.testing.assert_allclose(_apply(recipe, array), [[0, 0, 0.5, 1, 1]])
    open_end = recipe.model_copy(update={"clip": False})
    np.testing.assert_allclose(_apply(open_end, array), [[-2.25, 0, 0.5, 1, 5.25]])


def test_mean_and_deviation_come_last():
    recipe = IntensityRecipe(scale="window", low=0, high=10, mean=0.5, std=0.25)
    np.testing.assert_allclose(_apply(recipe, np.array([[0, 5, 20]])), [[-2, 0, 2]])


def test_none_leaves_values_as_they_are():
    array = np.array([[-5.5, 1000]], np.float32)
    np.testing.assert_array_equal(_apply(IntensityRecipe(scale="none"), array), array)


@pytest.mark.parametrize("scale", ["percentile", "dtype", "none"])
def test_values_that_are_not_finite_become_the_limits(scale, rng):
    array = rng.random((50, 50)).astype(np.float32) * 9
    array[0, :3] = np.nan, np.inf, -np.inf
    limits = {"low": 1, "high": 99} if scale == "percentile" else {}
    scaled = _apply(IntensityRecipe(scale=scale, **limits), array)
    assert np.isfinite(scaled).all()
    assert scaled[0, 0] == scaled[0, 2] == scaled.min()
    np.testing.assert_allclose(scaled[0, 1], scaled.max(), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_image_without_a_finite_value_is_refused(bad):
    with pytest.raises(ImageError, match="no finite value"):
        fit_intensity(PERCENTILE, np.full((4, 5, 6), bad), planes=True)


def test_large_numbers_keep_their_differences():
    array = np.array([[10**9, 10**9 + 5, 10**9 + 10]], np.int64)
    recipe = IntensityRecipe(scale="percentile", low=0, high=100)
    np.testing.assert_allclose(_apply(recipe, array), [[0, 0.5, 1]])


def test_layout_in_memory_does_not_matter(rng):
    array = rng.random((20, 30, 40)).astype(np.float32)
    turned = np.asfortranarray(array[::-1].copy())[::-1]
    np.testing.assert_array_equal(_apply(PERCENTILE, array), _apply(PERCENTILE, turned))
    assert _apply(PERCENTILE, turned).flags.c_contiguous


class Watched:
    """A large image that is never in memory: a slope along every axis."""

    def __init__(self, shape):
        self.shape, self.dtype, self.read = shape, np.dtype(np.float32), 0

    def __getitem__(self, index):
        first = index if isinstance(index, slice) else slice(index, index + 1)
        rows = np.arange(self.shape[0])[first]
        part = np.broadcast_to(
            (rows / self.shape[0]).reshape(-1, *(1,) * (len(self.shape) - 1)),
            (len(rows), *self.shape[1:]),
        ).astype(np.float32)
        self.read = max(self.read, part.size)
        return part if isinstance(index, slice) else part[0]


@pytest.mark.parametrize("shape", [(4000, 4000), (400, 200, 300)])
def test_large_images_are_judged_by_a_part(shape, monkeypatch):
    monkeypatch.setattr("napari_medurwkv.inference.intensity.SAMPLE_VALUES", 100_000)
    image = Watched(shape)
    scale = fit_intensity(PERCENTILE, image, planes=len(shape) == 3)
    np.testing.assert_allclose([scale.low, scale.high], [0.01, 0.99], atol=0.02)
    assert image.read <= 2**24
    again = fit_intensity(PERCENTILE, Watched(shape), planes=len(shape) == 3)
    assert scale == again


def test_sample_limit_is_that_of_a_few_megabytes():
    assert SAMPLE_VALUES * 4 <= 64 * 2**20
