"""3D models: every voxel back in its place, whatever the axes and the spacing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from napari_medurwkv.checkpoints import InputChannel
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.inference import segment
from napari_medurwkv.inference.plan import Plan
from napari_medurwkv.io import Image

SPACINGS = [
    (1, 1, 1),
    (0.7, 0.7, 0.7),
    (4, 1, 1),
    (3, 2, 2),
    (1.3, 0.7, 2.2),
    (0.3, 1, 1),
    (5.5, 0.75, 0.75),
]
ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_mask_comes_back_in_the_files_own_order(
    axes, signs, volume_card, model, networks, rng
):
    """All 48 orientations of a file; random voxels, so that nothing can hide."""
    stored = rng.random((9, 11, 13)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for index, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, index] = sign
    geometry = Geometry.from_affine(affine, stored.shape)
    image = Image(geometry.to_display(stored), geometry, False, "test")
    result = segment(image, model(networks["threshold"](1), volume_card()))
    back = result.geometry.to_source(result.labels)
    np.testing.assert_array_equal(back, stored > 0.5)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_one_brain_in_any_orientation_gives_one_mask(
    orientation, volume_card, model, networks, rng
):
    """Bit for bit in display order, also where the working grid is another."""
    display = rng.random((9, 22, 18)).astype(np.float32)
    spacing = np.array([2.5, 0.8, 0.9])
    # S, P, L are the axes +z, -y, -x of the world.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *(1, -1, -1) * spacing, 1
    fake = model(networks["convolution"](3, 2), volume_card())
    axes, signs = orientation
    stored = np.flip(display, [i for i in range(3) if signs[i] < 0]).transpose(axes)
    turned = affine.copy()
    for i in range(3):
        if signs[i] < 0:
            turned[:3, 3] += turned[:3, i] * (display.shape[i] - 1)
            turned[:3, i] *= -1
    turned = turned[:, [*axes, 3]]
    labels = []
    for array, matrix in ((display, affine), (np.ascontiguousarray(stored), turned)):
        geometry = Geometry.from_affine(matrix, array.shape)
        image = Image(geometry.to_display(array), geometry, False, "test")
        np.testing.assert_array_equal(image.array, display)
        labels.append(segment(image, fake, device="cpu").labels)
    np.testing.assert_array_equal(labels[0], labels[1])
    assert 0 < labels[0].mean() < 1


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_slope_is_cut_at_the_right_voxel(
    spacing, slice_axis, volume_card, model, networks, image
):
    """Half a voxel of shift along any axis would move the cut."""
    shape = (12, 30, 27)
    the_card = volume_card(slice_axis=slice_axis, patch_size=(64, 64))
    fake = model(networks["threshold"](1, gain=0.1), the_card)
    for axis in range(3):
        place = np.indices(shape)[axis].astype(np.float32)
        for cut, flip in ((shape[axis] // 2 - 0.4, False), (shape[axis] // 2, True)):
            slope = 0.5 + (place - cut - 0.3) / 100
            below = place > cut + 0.3
            if flip:
                slope, below = np.flip(slope, axis), np.flip(below, axis)
            labels = segment(image(slope, spacing), fake).labels
            np.testing.assert_array_equal(labels, below)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_ball_keeps_place_and_size(spacing, volume_card, model, networks, image):
    shape = (24, 40, 36)
    centre = np.array([10.3, 17.6, 20.2])
    place = np.indices(shape).astype(float)
    distance = np.sqrt(
        sum(((p - c) * s) ** 2 for p, c, s in zip(place, centre, spacing, strict=True))
    )
    # As a scanner sees it: the rim is a slope of 2 mm.
    ball = np.clip(0.5 + (6.5 - distance) / 2, 0, 1).astype(np.float32)
    fake = model(networks["threshold"](1, gain=8), volume_card())
    labels = segment(image(ball, spacing), fake).labels
    truth = ball > 0.5
    dice = 2 * (labels & truth).sum() / (labels.sum() + truth.sum())
    assert dice > 0.93
    shift = np.array(
        [np.abs(p[labels > 0].mean() - p[truth].mean()) for p in place]
    ) * np.array(spacing)
    assert shift.max() < 0.15


def test_neighbouring_slices_are_channels_in_order(
    volume_card, model, networks, image, rng
):
    array = rng.random((6, 20, 20)).astype(np.float32)
    for channel, step in enumerate((-2, -1, 0, 1, 2)):
        fake = model(networks["threshold"](channel), volume_card(slice_context=2))
        labels = segment(image(array, (1, 1, 1)), fake).labels
        source = np.clip(np.arange(6) + step, 0, 5)
        np.testing.assert_array_equal(labels, array[source] > 0.5)


def test_colour_volume(volume_card, model, networks, image, rng):
    array = rng.random((5, 20, 20, 3)).astype(np.float32)
    channels = tuple(InputChannel(name=n) for n in "rgb")
    fake = model(
        networks["threshold"](1), volume_card(slice_context=0, channels=channels)
    )
    labels = segment(image(array, (1, 1, 1), rgb=True), fake).labels
    np.testing.assert_array_equal(labels, array[..., 1] > 0.5)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((1, 1, 1), (1, 1, 1)), ((1, 5, 90), (9, 1, 1)), ((40, 1, 3), (0.7, 2, 2))],
)
def test_tiny_volumes(shape, spacing, volume_card, model, networks, image):
    array = np.ones(shape, np.float32)
    fake = model(networks["threshold"](1), volume_card())
    assert segment(image(array, spacing), fake).labels.all()


def test_working_planes_that_no_slice_needs_are_not_computed(
    volume_card, model, networks, image, rng
):
    array = rng.random((5, 20, 20)).astype(np.float32)
    network = networks["convolution"](3, 2)
    segment(image(array, (3, 1, 1)), model(network, volume_card()), device="cpu")
    assert network.calls == 5


class Lazy:
    """An array on disk, so to speak: notes what is read of it."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.reads = []

    def __getitem__(self, index):
        part = self._array[index]
        self.reads.append((index, part.size))
        return part


@pytest.mark.parametrize("slice_axis", [0, 2])
@pytest.mark.parametrize("size", [0.4, 1, 3.5])
def test_memory_holds_a_few_planes(
    size, slice_axis, volume_card, model, networks, rng, monkeypatch
):
    shape = [24, 24, 24]
    shape[slice_axis] = 60
    spacing = [1.2, 1.2, 1.2]
    spacing[slice_axis] = size
    lazy = Lazy(rng.random(shape).astype(np.float32))
    parts = []
    for name in ("source", "sink"):
        make = getattr(Plan, name)
        monkeypatch.setattr(
            Plan, name, lambda *a, make=make: parts.append(make(*a)) or parts[-1]
        )
    most = [0, 0]

    def watch(_):
        for i, part in enumerate(parts):
            most[i] = max(most[i], part.held)

    fake = model(networks["threshold"](1), volume_card(slice_axis=slice_axis))
    # Its values are hashed for the record, which is not what is watched here.
    monkeypatch.setattr(
        "napari_medurwkv.provenance.array_sha256", lambda array: "0" * 64
    )
    segment(
        Image(lazy, Geometry.plain(lazy.shape, spacing, "mm"), False, "lazy"),
        fake,
        progress=watch,
    )
    # Input: three working planes and the slices that make the next; output: two.
    assert most[0] <= 3 + max(2, round(1 / size) + 2)
    assert most[1] <= 2
    assert max(n for _, n in lazy.reads) <= 60 * 24
    planes = [index for index, _ in lazy.reads if isinstance(index, tuple)]
    assert len(planes) == len({repr(p) for p in planes})


def test_same_input_same_bits(volume_card, model, networks, image, rng):
    array = rng.random((8, 40, 33)).astype(np.float32)
    fake = model(networks["convolution"](3, 3), volume_card(output_values=(0, 1, 2)))
    first, second = (
        segment(image(array, (1.5, 0.8, 0.8)), fake, device="cpu") for _ in range(2)
    )
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.record.input == second.record.input


def test_network_keeps_its_mode(volume_card, model, networks, image, rng):
    network = networks["convolution"](3, 2)
    fake = model(network, volume_card())
    network.train()
    modes = []
    network.conv.register_forward_hook(lambda *_: modes.append(network.training))
    segment(image(rng.random((2, 9, 9)).astype(np.float32), (1, 1, 1)), fake)
    assert modes
    assert not any(modes)
    assert network.training
    assert torch.is_grad_enabled()
