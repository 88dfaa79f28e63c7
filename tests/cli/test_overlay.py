from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_medurwkv.checkpoints import ClassInfo
from napari_medurwkv.cli.overlay import draw_overlay, write_overlay
from napari_medurwkv.errors import OutputError
from napari_medurwkv.io import image_from_array

CLASSES = (
    ClassInfo(value=0, name="background", color="#000000"),
    ClassInfo(value=1, name="left", color="#ff0000"),
    ClassInfo(value=2, name="right", color="#0000ff"),
)


def result(labels, instances=False):
    return SimpleNamespace(labels=labels, classes=CLASSES, instances=instances)


def reddest(picture):
    pixels = np.asarray(picture).astype(int)
    return pixels[..., 0] - pixels[..., 2] > 60


def test_classes_lie_where_their_labels_are():
    image = image_from_array(np.tile(np.linspace(0, 1, 40), (40, 1)))
    labels = np.zeros((40, 40), np.uint8)
    labels[:20, :20], labels[20:, 20:] = 1, 2
    pixels = np.asarray(draw_overlay(image, result(labels)))[38:458, 12:432].astype(int)
    assert (pixels[20:190, 20:190, 0] > pixels[20:190, 20:190, 2] + 60).all()
    assert (pixels[230:400, 230:400, 2] > pixels[230:400, 230:400, 0] + 60).all()
    # Elsewhere the image stays grey.
    assert (pixels[20:190, 230:400, 0] == pixels[20:190, 230:400, 2]).all()


def test_a_volume_is_shown_head_up_with_square_pixels():
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    image = image_from_array(
        np.random.default_rng(0).random((30, 30, 10)), affine=affine
    )
    labels = np.zeros(image.geometry.display_shape, np.uint8)
    labels[-3:] = 1  # the highest slices
    picture = draw_overlay(image, result(labels))
    pixels = reddest(picture)[38:458]
    axial, coronal = pixels[:, 12:432], pixels[:, 444:864]
    assert not axial.any()
    assert coronal[:100].mean() > 0.9
    assert not coronal[150:].any()
    assert picture.width == 3 * 420 + 4 * 12


def test_objects_get_outlines_and_are_counted():
    image = image_from_array(np.zeros((40, 40)))
    labels = np.zeros((40, 40), np.int32)
    labels[5:15, 5:15], labels[5:15, 15:25] = 1, 2
    row = np.asarray(draw_overlay(image, result(labels, instances=True)))[138, 12:432]
    light = row[:, 1] > 150
    # Two rims, one on each side of the border of the two, and the outer ones.
    assert light[155:160].any()
    assert not light[80:140].any()
    assert not light[280:].any()


def test_an_existing_picture_is_kept(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    image = image_from_array(np.eye(20))
    with pytest.raises(OutputError, match="exists"):
        write_overlay(path, image, result(np.ones((20, 20), np.uint8)))
    assert path.read_bytes() == b"mine"
