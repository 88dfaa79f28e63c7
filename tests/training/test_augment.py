from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medurwkv.training.augment import IntensityChanges, random_crop
from napari_medurwkv.training.config import AugmentSettings

CHANGES = (
    "foreground flip quarter_turns affine gain gamma invert shuffle colour tint noise "
    "blur"
)
OFF = dict.fromkeys(CHANGES.split(), 0.0)


def only(**settings: object) -> AugmentSettings:
    return AugmentSettings.model_validate({**OFF, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        only(),
        only(flip=0.5, quarter_turns=0.75),
        only(affine=1.0, rotation=180, zoom=(0.5, 2.0), shear=0.3, flip=0.5),
    ],
)
def test_labels_move_with_the_image(settings: AugmentSettings) -> None:
    rows, columns = torch.meshgrid(
        torch.arange(90.0), torch.arange(70.0), indexing="ij"
    )
    labels = ((rows // 30) * 3 + columns // 25).long() + 1
    image = labels[None].half()
    rng = np.random.default_rng(3)
    for _ in range(8):
        pixels, numbers = random_crop(image, labels, 48, settings, rng)
        assert pixels.shape == (1, 48, 48) and numbers.shape == (48, 48)
        # Linear and nearest agree wherever the image is flat.
        assert (pixels[0] - numbers).abs().lt(0.01).float().mean() > 0.7


def test_crops_without_scaling_are_pieces_of_the_image() -> None:
    values = torch.arange(70 * 60).reshape(70, 60)
    rng = np.random.default_rng(0)
    for _ in range(10):
        pixels, numbers = random_crop(
            values[None].float(), values, 33, only(flip=0.5, quarter_turns=1.0), rng
        )
        torch.testing.assert_close(pixels[0], numbers.float(), rtol=0, atol=0.02)
        assert len(numbers.unique()) == 33 * 33


def test_zoom_above_one_enlarges() -> None:
    labels = torch.zeros(100, 100, dtype=torch.long)
    labels[45:55, 45:55] = 1
    settings = only(affine=1.0, rotation=0, shear=0, zoom=(2.0, 2.0), foreground=1.0)
    areas = [
        int(random_crop(labels[None].half(), labels, 64, settings, rng)[1].sum())
        for rng in map(np.random.default_rng, range(8))
    ]
    assert max(areas) == pytest.approx(400, rel=0.15)


def test_foreground_crops_hold_an_object() -> None:
    labels = torch.zeros(300, 300, dtype=torch.long)
    labels[:6, :6] = 1
    rng = np.random.default_rng(1)
    found = [
        bool(
            random_crop(labels[None].half(), labels, 40, only(foreground=p), rng)[
                1
            ].any()
        )
        for p in (1.0, 0.0)
        for _ in range(20)
    ]
    assert sum(found[:20]) >= 15 > 5 >= sum(found[20:])


def test_images_smaller_than_the_crop_are_mirrored() -> None:
    labels = torch.ones(20, 30, dtype=torch.long)
    rng = np.random.default_rng(1)
    pixels, numbers = random_crop(labels[None].half(), labels, 64, only(), rng)
    assert (numbers == 1).all()
    torch.testing.assert_close(pixels, torch.ones(1, 64, 64))


def test_intensities_off_means_unchanged_and_grey_is_repeated() -> None:
    changes = IntensityChanges(only(), 3, repeat_grey=True, clip=True)
    image = torch.rand(1, 16, 16)
    out = changes(image, np.random.default_rng(0))
    torch.testing.assert_close(out, image.expand(3, -1, -1))
    assert type(out) is torch.Tensor


def test_grey_stays_grey_under_noise_and_the_range_is_kept() -> None:
    settings = only(noise=1.0, noise_std=0.5, gain=1.0, gamma=1.0, blur=1.0, invert=0.5)
    changes = IntensityChanges(settings, 3, repeat_grey=True, clip=True)
    out = changes(torch.rand(1, 24, 24), np.random.default_rng(0))
    assert (out == out[:1]).all()
    assert out.min() >= 0 and out.max() <= 1


def test_the_same_generator_gives_the_same_change() -> None:
    settings = AugmentSettings(noise=1.0, blur=1.0, gamma=1.0, shuffle=1.0)
    changes = IntensityChanges(settings, 3, repeat_grey=True, clip=True)
    image = torch.rand(3, 24, 24)
    a, b, c = (changes(image, np.random.default_rng(s)) for s in (4, 4, 5))
    torch.testing.assert_close(a, b)
    assert not torch.equal(a, c)


def test_magnification_shows_each_pixel_larger() -> None:
    values = torch.arange(70 * 60).reshape(70, 60)
    rng = np.random.default_rng(0)
    for _ in range(5):
        pixels, numbers = random_crop(
            values[None].float(), values, 32, only(), rng, magnification=2.0
        )
        assert pixels.shape == (1, 32, 32)
        # 32 points half a pixel apart see 16 rows of 16 pixels.
        assert 15 * 15 <= len(numbers.unique()) <= 17 * 17
        step = pixels[0, :, 1:] - pixels[0, :, :-1]
        torch.testing.assert_close(step, torch.full_like(step, 0.5), rtol=0, atol=0.05)
