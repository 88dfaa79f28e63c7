"""Slices cut three ways: averaged where they lie in the world."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage

from napari_medurwkv.errors import CancelledError, ImageError, OutputError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.inference import segment
from napari_medurwkv.inference import views as module
from napari_medurwkv.inference.view_names import view_axes
from napari_medurwkv.inference.views import ViewSums
from napari_medurwkv.io import Image

ALL = ("axial", "coronal", "sagittal")


class Pixel(torch.nn.Module):
    """Sees the pixel itself only: whatever the view, the answer is the same."""

    def __init__(self, gain=8.0):
        super().__init__()
        self.gain = gain

    def forward(self, x):
        x = x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1]
        return torch.cat([torch.zeros_like(x), (x - 0.5) * self.gain], 1)


class Across(torch.nn.Module):
    """Blurs within the slice, so each view answers in its own way."""

    def forward(self, x):
        x = x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1]
        x = torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
        return torch.cat([torch.zeros_like(x), (x - 0.5) * 30], 1)


def _blob(shape, centre, radius, spacing):
    grid = np.indices(shape).astype(float)
    place = [(g - c) * s for g, c, s in zip(grid, centre, spacing, strict=True)]
    distance = np.sqrt(sum(p**2 for p in place))
    return (1 / (1 + np.exp((distance - radius) / 0.7))).astype(np.float32)


def test_a_network_that_knows_no_view_gives_the_same_mask(
    volume_card, model, image, rng
):
    field = rng.random((14, 19, 23)).astype(np.float32)
    field = np.where(abs(field - 0.5) < 0.01, 0.6, field)
    fake = model(Pixel(), volume_card())
    one = segment(image(field), fake)
    three = segment(image(field), fake, views=ALL)
    np.testing.assert_array_equal(three.labels, one.labels)
    assert three.record.parameters["views"] == ["coronal", "sagittal", "axial"]
    assert three.record.parameters["windows"] > one.record.parameters["windows"]
    assert "views" not in one.record.parameters


def test_scores_are_averaged(volume_card, model, image, rng):
    """Against the three runs one by one, from their own probabilities."""
    field = ndimage.gaussian_filter(rng.random((16, 18, 20)), 1).astype(np.float32)
    field = (field - field.min()) / np.ptp(field)
    fake = model(Across(), volume_card(slice_context=0))
    singles = [
        segment(image(field), fake, views=[axis], keep_probabilities=True)
        for axis in range(3)
    ]
    mean = np.mean([s.probabilities.array / 255 for s in singles], axis=0)
    fused = segment(image(field), fake, views=ALL, keep_probabilities=True)
    np.testing.assert_allclose(fused.probabilities.array / 255, mean, atol=0.006)
    sure = abs(mean[1] - 0.5) > 0.01
    np.testing.assert_array_equal(fused.labels[sure], (mean[1] > 0.5)[sure])
    assert len({s.labels.tobytes() for s in singles}) == 3


@pytest.mark.parametrize("spacing", [(1, 1, 1), (4, 1, 1), (1.3, 0.7, 2.2)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_shifts(axis, spacing, volume_card, model, image):
    """A ball stays where it is, whatever the voxels and the card's own view."""
    shape = tuple(round(36 / s) for s in spacing)
    centre = [n * f for n, f in zip(shape, (0.42, 0.55, 0.5), strict=True)]
    field = _blob(shape, centre, 8, spacing)
    the_card = volume_card(slice_axis=axis)
    result = segment(image(field, spacing), model(Pixel(), the_card), views=ALL)
    expected = field > 0.5
    found = np.array(ndimage.center_of_mass(result.labels))
    there = np.array(ndimage.center_of_mass(expected))
    assert np.abs(found - there).max() < 0.1
    both = np.count_nonzero(result.labels.astype(bool) & expected)
    assert 2 * both / (result.labels.sum() + expected.sum()) > 0.97


@pytest.mark.parametrize(
    ("axes", "signs"),
    [(axes, (1, -1, 1)) for axes in itertools.permutations(range(3))],
)
def test_the_files_own_order_does_not_matter(axes, signs, volume_card, model, rng):
    stored = rng.random((9, 11, 13)).astype(np.float32)
    stored = np.where(abs(stored - 0.5) < 0.01, 0.6, stored)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for index, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, index] = sign
    geometry = Geometry.from_affine(affine, stored.shape)
    picture = Image(geometry.to_display(stored), geometry, False, "test")
    result = segment(picture, model(Pixel(), volume_card()), views=ALL)
    back = result.geometry.to_source(result.labels)
    np.testing.assert_array_equal(back, stored > 0.5)


def test_the_working_spacing_turns_with_the_view(volume_card, model, image):
    """Cut across another axis, slices are as thick as the card says slices are."""
    seen = []

    class Spy(Pixel):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return super().forward(x)

    the_card = volume_card(spacing=(3, 1, 1), slice_context=0, patch_size=(64, 64))
    field = np.zeros((12, 24, 30), np.float32)
    result = segment(image(field, (2, 1, 1)), model(Spy(), the_card), views=ALL)
    # 24 mm in 8 slices; then 24 mm in 8, then 30 mm in 10, each of 3 mm.
    assert result.record.parameters["windows"] == 8 + 8 + 10
    assert result.record.parameters["working_grid"] == [8, 24, 30]


def test_a_part_is_what_it_is_in_the_whole(volume_card, model, image, rng):
    field = rng.random((12, 40, 45)).astype(np.float32)
    fake = model(Across(), volume_card())
    region = (slice(4, 9), slice(5, 25), slice(20, 45))
    whole = segment(image(field), fake, views=ALL)
    part = segment(image(field), fake, views=ALL, region=region)
    np.testing.assert_array_equal(part.labels[region], whole.labels[region])
    assert np.count_nonzero(part.labels) == np.count_nonzero(part.labels[region])


def test_sums_in_a_file_are_the_same(volume_card, model, image, rng, monkeypatch):
    field = rng.random((12, 20, 25)).astype(np.float32)
    fake = model(Across(), volume_card())
    expected = segment(image(field), fake, views=ALL).labels
    made = []

    def in_a_file(*arguments):
        made.append(ViewSums(*arguments, in_memory=0))
        return made[-1]

    monkeypatch.setattr("napari_medurwkv.inference.run.ViewSums", in_a_file)
    np.testing.assert_array_equal(
        segment(image(field), fake, views=ALL).labels, expected
    )
    assert made[0].mapped


def test_no_room_for_the_file_is_a_sentence(monkeypatch):
    def full(*_):
        raise OSError(28, "full")

    monkeypatch.setattr(module, "take_room", full)
    with pytest.raises(OutputError, match="TMPDIR"):
        ViewSums(2, (4, 4, 4), 3, in_memory=0)


def test_uncertainty_is_of_the_average(volume_card, model, image, rng):
    field = rng.random((10, 12, 14)).astype(np.float32)
    fake = model(Across(), volume_card())
    result = segment(
        image(field), fake, views=ALL, uncertainty=True, keep_probabilities=True
    )
    p = result.probabilities.array / 255
    expected = -(p * np.log2(np.maximum(p, 1e-9))).sum(0)
    np.testing.assert_allclose(result.uncertainty.entropy / 255, expected, atol=0.02)


def test_the_card_may_ask_for_views(volume_card, model, image, rng):
    field = rng.random((10, 12, 14)).astype(np.float32)
    fake = model(Across(), volume_card(views=(0, 1, 2)))
    result = segment(image(field), fake)
    assert result.record.parameters["views"] == ["coronal", "sagittal", "axial"]
    one = segment(image(field), fake, views=["axial"])
    assert "views" not in one.record.parameters
    plain = segment(image(field), model(Across(), volume_card()))
    np.testing.assert_array_equal(one.labels, plain.labels)


@pytest.mark.parametrize("views", [(0, 0), (1, 2), (0, 3)])
def test_a_card_names_its_views_properly(views, volume_card):
    with pytest.raises(ValidationError):
        volume_card(views=views)


def test_views_of_pictures_make_no_sense(card, volume_card):
    assert view_axes(None, card()) == ()
    with pytest.raises(ImageError, match="one view"):
        view_axes(["axial"], card())
    with pytest.raises(ImageError, match="axial, coronal, sagittal"):
        view_axes(["oblique"], volume_card())
    with pytest.raises(ValidationError):
        card(views=(0,))


def test_progress_counts_all_views_and_can_be_cancelled(volume_card, model, image, rng):
    field = rng.random((10, 12, 14)).astype(np.float32)
    told = []
    result = segment(
        image(field), model(Across(), volume_card()), views=ALL, progress=told.append
    )
    assert told[-1].done == told[-1].total == 10 + 12 + 14
    assert {t.total for t in told} == {36}
    covered = np.zeros(field.shape, int)
    for one in told:
        if one.region is not None:
            covered[one.region] += 1
    assert (covered == 1).all()
    assert result.complete
    told.clear()
    with pytest.raises(CancelledError, match="20 of 36"):
        segment(
            image(field),
            model(Across(), volume_card()),
            views=ALL,
            progress=told.append,
            cancel=lambda: len(told) >= 20,
        )
