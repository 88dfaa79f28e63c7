"""Arrays become images."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.errors import GeometryError, ImageError
from napari_medurwkv.io import image_from_array


def test_an_array_is_taken_in_display_order():
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = image_from_array(array, spacing=(3, 1, 0.5), name="volume")
    assert np.shares_memory(image.array, array)
    np.testing.assert_array_equal(image.array, array)
    assert image.geometry.display_spacing == (3, 1, 0.5)
    assert image.geometry.unit == "mm"
    assert image.geometry.kind == "pixel-size-only"
    assert image.name == "volume"
    assert image_from_array(array).geometry.kind == "none"
    micro = image_from_array(array[0], spacing=(0.5, 0.5), unit="um")
    assert micro.geometry.unit == "um"


def test_with_an_affine_it_is_taken_in_the_affines_order():
    array = np.arange(60).reshape(3, 4, 5)
    image = image_from_array(array, affine=np.diag([1.0, 2, 3, 1]))
    assert image.geometry.kind == "patient"
    assert not image.geometry.assumed
    np.testing.assert_array_equal(image.array, array.transpose(2, 1, 0)[:, ::-1, ::-1])
    with pytest.raises(ImageError, match="not both"):
        image_from_array(array, affine=np.eye(4), spacing=(1, 1, 1))


@pytest.mark.parametrize(
    ("shape", "rgb"),
    [
        ((9, 8), False),
        ((9, 8, 3), True),
        ((9, 8, 4), True),
        ((9, 8, 7, 3), True),
        ((9, 8, 7), False),
        ((3, 3, 3), False),
        ((9, 3, 3), False),
        ((3, 9, 8), False),
    ],
)
def test_colour_is_guessed(shape, rgb):
    image = image_from_array(np.ones(shape, np.uint8))
    assert image.rgb == rgb
    assert image.array.shape == ((*shape[:-1], 3) if rgb else shape)


def test_colour_may_be_told():
    assert not image_from_array(np.ones((9, 8, 3)), rgb=False).rgb
    assert image_from_array(np.ones((3, 3, 3)), rgb=True).rgb
    with pytest.raises(ImageError, match="last axis of 3 or 4"):
        image_from_array(np.ones((9, 8)), rgb=True)


def test_colour_with_an_affine_stays_last():
    array = np.arange(7 * 6 * 5 * 3).reshape(7, 6, 5, 3)
    image = image_from_array(array, affine=np.diag([-1.0, -1, 1, 1]))
    assert image.rgb
    np.testing.assert_array_equal(image.array, array.transpose(2, 1, 0, 3))


def test_true_and_false_are_numbers():
    image = image_from_array(np.eye(4, dtype=bool))
    assert image.array.dtype == np.uint8


def test_foreign_byte_orders_are_made_native():
    array = np.arange(12).reshape(3, 4).astype(">f4")
    image = image_from_array(array)
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array, array)


def test_not_finite_values_are_taken_out_of_a_copy():
    array = np.ones((4, 5))
    array[1, 2] = np.nan
    image = image_from_array(array)
    assert image.array[1, 2] == 0
    assert np.isnan(array[1, 2])
    assert "1 values (5 %)" in image.notes[0]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 5)), "is empty"),
        (np.zeros(5), "2 or 3 spatial axes"),
        (np.zeros((2, 3, 4, 5)), "2 or 3 spatial axes"),
        (5.0, "2 or 3 spatial axes"),
        (np.full((3, 4), np.nan), "no finite value"),
        (np.zeros((3, 4), complex), "not real numbers"),
        (np.array([["a", "b"]]), "not real numbers"),
        (np.array([[None, 1]]), "not real numbers"),
    ],
)
def test_what_is_no_image_is_refused(array, words):
    with pytest.raises(ImageError, match=words):
        image_from_array(array)


def test_a_spacing_that_does_not_fit_is_refused():
    with pytest.raises(GeometryError, match="2 positive numbers"):
        image_from_array(np.ones((3, 4)), spacing=(1, 1, 1))
