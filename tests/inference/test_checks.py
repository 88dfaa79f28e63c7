"""What does not fit together gets its sentence."""

from __future__ import annotations

import types

import numpy as np
import pytest

from napari_medurwkv.checkpoints import InputChannel
from napari_medurwkv.errors import (
    CheckpointError,
    GeometryError,
    ImageError,
    MedurwkvError,
    OutputError,
)
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.inference import segment
from napari_medurwkv.io import Image

RGB = tuple(InputChannel(name=n) for n in ("red", "green", "blue"))


@pytest.fixture
def embedded(monkeypatch, card, volume_card):
    """Two embedded models: pictures in grey and colour, volumes in grey."""
    entries = (
        types.SimpleNamespace(name="nuclei", card=card(channels=RGB, repeat_grey=True)),
        types.SimpleNamespace(name="brain-tissue", card=volume_card()),
    )
    monkeypatch.setattr("napari_medurwkv.checkpoints.catalogue", lambda: entries)


@pytest.fixture
def grey(card, model, networks):
    return model(networks["threshold"](), card())


@pytest.fixture
def colour(card, model, networks):
    return model(networks["threshold"](), card(channels=RGB))


@pytest.fixture
def volume(volume_card, model, networks):
    return model(networks["threshold"](1), volume_card())


def test_picture_for_a_volume_model(embedded, volume, image):
    with pytest.raises(
        ImageError, match=r"segments 3D volumes and this image is 2D; .*as nuclei\."
    ):
        segment(image(np.ones((9, 9))), volume)


def test_colour_for_a_grey_model(embedded, grey, image):
    with pytest.raises(ImageError, match=r"is RGB .* 1 channel; .*such as nuclei\."):
        segment(image(np.ones((9, 9, 3)), rgb=True), grey)


def test_grey_for_a_colour_model(embedded, colour, image):
    with pytest.raises(
        ImageError,
        match=r"is grey .*\(red, green, blue\); .*nuclei or brain-tissue\.",
    ):
        segment(image(np.ones((9, 9))), colour)


def test_nothing_embedded_fits(monkeypatch, volume, image):
    monkeypatch.setattr("napari_medurwkv.checkpoints.catalogue", lambda: ())
    with pytest.raises(ImageError, match="none of the embedded models"):
        segment(image(np.ones((9, 9))), volume)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_empty_image(shape, grey, image):
    with pytest.raises(ImageError, match="empty"):
        segment(image(np.zeros(shape)), grey)


def test_four_axes(grey):
    with pytest.raises(ImageError, match="2 or 3 spatial axes"):
        segment(np.zeros((2, 3, 4, 5)), grey)


def test_frame_of_something_that_is_no_file(grey):
    with pytest.raises(ImageError, match="frame"):
        segment(np.zeros((4, 5)), grey, frame=0)


def test_nan_image(grey, image):
    with pytest.raises(ImageError, match="no finite value"):
        segment(image(np.full((9, 9), np.nan)), grey)


def test_complex_image(grey, image):
    with pytest.raises(ImageError, match="complex128"):
        segment(image(np.zeros((9, 9), complex)), grey)


def test_array_and_geometry_of_different_shape(grey):
    wrong = Image(np.zeros((9, 9)), Geometry.plain((9, 8)), False, "x")
    with pytest.raises(GeometryError, match="shape"):
        segment(wrong, grey)


def test_two_channels_are_no_colour(colour):
    wrong = Image(np.zeros((9, 9, 2)), Geometry.plain((9, 9)), True, "x")
    with pytest.raises(ImageError, match="2 channels are chosen"):
        segment(wrong, colour)


@pytest.mark.parametrize("overlap", [-0.5, 1, 2])
def test_overlap_out_of_range(overlap, grey, image):
    with pytest.raises(MedurwkvError, match="overlap"):
        segment(image(np.ones((9, 9))), grey, overlap=overlap)


def test_objects_of_a_model_that_cannot_tell_them(grey, image):
    with pytest.raises(CheckpointError, match="cannot separate objects"):
        segment(image(np.ones((9, 9))), grey, instances=True)


@pytest.mark.parametrize(
    ("out", "match"),
    [
        (np.zeros((9, 8), np.uint8), "shape"),
        (np.zeros((9, 9), np.int32), "type int32"),
        (np.broadcast_to(np.uint8(0), (9, 9)), "read-only"),
    ],
)
def test_output_array_that_does_not_fit(out, match, grey, image):
    with pytest.raises(OutputError, match=match):
        segment(image(np.ones((9, 9))), grey, out=out)


@pytest.mark.parametrize("spacing", [(1, 1, 100), (0.01, 1, 1)])
def test_voxel_size_that_must_be_a_mistake(spacing, volume, image):
    with pytest.raises(ImageError, match="correct the voxel size"):
        segment(image(np.ones((9, 9, 9)), spacing), volume)


def test_missing_file_and_missing_model(grey, image, tmp_path):
    with pytest.raises(MedurwkvError, match="absent"):
        segment(tmp_path / "absent.nii.gz", grey)
    with pytest.raises(MedurwkvError, match="absent"):
        segment(image(np.ones((9, 9))), "absent")
