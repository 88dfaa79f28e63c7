"""A part of an image has the mask that the whole image has there."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.checkpoints import InstanceRecipe
from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference import segment

PICTURE = [
    (slice(0, 150), slice(0, 110)),
    (slice(40, 47), slice(33, 90)),
    (slice(0, 1), slice(0, 1)),
    (slice(149, None), slice(-1, None)),
    (slice(60, 100), slice(None)),
]
VOLUME = [
    (slice(4, 5), slice(None), slice(None)),
    (slice(None), slice(10, 20), slice(30, 36)),
    (slice(0, 3), slice(0, 5), slice(0, 5)),
    (slice(6, 7), slice(59, 60), slice(39, 40)),
]


def _compare(picture, fake, region):
    whole = segment(picture, fake, device="cpu")
    seen = []
    part = segment(picture, fake, device="cpu", region=region, progress=seen.append)
    assert len(np.unique(whole.labels)) > 1
    np.testing.assert_array_equal(part.labels[region], whole.labels[region])
    outside = part.labels.copy()
    outside[region] = 0
    assert not outside.any()
    assert part.complete
    covered = np.zeros(part.labels.shape, int)
    for p in seen:
        if p.region is not None:
            covered[p.region] += 1
    assert (covered[region] == 1).all()
    assert covered.sum() == covered[region].size
    windows = part.record.parameters["windows"]
    assert windows <= whole.record.parameters["windows"]
    return windows


@pytest.mark.parametrize("region", PICTURE)
@pytest.mark.parametrize("spacing", [None, (0.5, 0.7), (1.4, 1.2)])
def test_of_a_picture(region, spacing, card, model, networks, image, rng):
    array = rng.random((150, 110)).astype(np.float32)
    the_card = card(spacing=None if spacing is None else (1, 1))
    fake = model(networks["convolution"](1, 2), the_card)
    _compare(image(array, spacing), fake, region)


@pytest.mark.parametrize("region", VOLUME)
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 0.8), (0.6, 1.3, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_of_a_volume(region, spacing, axis, volume_card, model, networks, image, rng):
    array = rng.random((7, 60, 40)).astype(np.float32)
    fake = model(networks["convolution"](3, 2), volume_card(slice_axis=axis))
    _compare(image(array, spacing), fake, region)


def test_of_a_stack_of_pictures(card, model, networks, image, rng):
    array = rng.random((5, 70, 60)).astype(np.float32)
    fake = model(networks["convolution"](1, 2), card())
    region = (slice(2, 4), slice(5, 50), slice(20, 60))
    _compare(image(array), fake, region)


def test_one_slice_of_a_volume_costs_the_windows_of_its_planes(
    volume_card, model, networks, image, rng
):
    array = rng.random((40, 60, 40)).astype(np.float32)
    fake = model(networks["convolution"](3, 2), volume_card())
    region = (slice(20, 21), slice(None), slice(None))
    assert _compare(image(array, (1, 1, 1)), fake, region) == 6
    assert _compare(image(array, (2.5, 1, 1)), fake, region) <= 12


def test_objects_of_a_part_are_numbered_from_one(card, model, networks, image, rng):
    array = np.zeros((64, 64), np.float32)
    array[5:15, 5:15] = array[40:50, 40:52] = 1
    recipe = InstanceRecipe(inside_channel=1, boundary_channel=0)
    fake = model(networks["threshold"](), card(instances=recipe))
    region = (slice(30, 64), slice(30, 64))
    result = segment(image(array), fake, device="cpu", instances=True, region=region)
    assert result.labels.max() == 1
    np.testing.assert_array_equal(result.labels[40:50, 40:52], 1)


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ((slice(3, 3), slice(None)), "no point"),
        ((slice(500, 600), slice(None)), "no point"),
        ((slice(None),), "1 axes and the image 2"),
        ((slice(0, 9, 2), slice(None)), "without steps"),
    ],
)
def test_a_region_that_makes_no_sense_gets_its_sentence(
    region, sentence, card, model, networks, image
):
    fake = model(networks["threshold"](), card())
    with pytest.raises(ImageError, match=sentence):
        segment(image(np.ones((50, 60), np.float32)), fake, region=region)
