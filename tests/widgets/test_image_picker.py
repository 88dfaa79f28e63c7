"""The image picker finds the geometry in a thread and says what is known of it."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.layers._source import layer_source

from napari_medurwkv.widgets.image_picker import ImagePicker
from napari_medurwkv.widgets.reader import read_layers


@pytest.fixture
def picker(viewer, qtbot):
    picker = ImagePicker(viewer)
    qtbot.addWidget(picker)
    yield picker
    picker.disconnect_viewer()


@pytest.fixture
def scan(tmp_path):
    """A small file whose array lies otherwise than it is displayed (LAS)."""
    values = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    image = nib.Nifti1Image(values, np.diag([-0.5, 0.7, 3, 1]))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    return path


def test_plain_layer_is_assumed(viewer, picker, qtbot, volume):
    viewer.add_image(volume)
    qtbot.waitUntil(lambda: picker.picture is not None)
    assert "assumed" in picker.badge.text
    assert picker.dimensions == 3


def test_our_file_is_known_and_named_by_its_own_axes(viewer, picker, qtbot, scan):
    data, options, _ = read_layers(str(scan))[0]
    viewer.add_image(data, **options)
    qtbot.waitUntil(lambda: picker.picture is not None)
    assert picker.badge.text == "LAS, 0.5 × 0.7 × 3 mm · known"


def test_layer_of_another_reader_is_found_in_its_file(viewer, picker, qtbot, scan):
    # As napari-nifti gives it: canonical, axes reversed.
    array = nib.as_closest_canonical(nib.load(scan)).get_fdata().T
    with layer_source(path=str(scan)):
        viewer.add_image(array, scale=(3, -0.7, -0.5))
    qtbot.waitUntil(lambda: picker.picture is not None)
    assert "known" in picker.badge.text


def test_change_of_the_layer_is_noticed(viewer, picker, qtbot, volume):
    layer = viewer.add_image(volume, units="mm", scale=(2, 1, 1))
    qtbot.waitUntil(lambda: picker.picture is not None)
    assert "2 × 1 × 1 mm" in picker.badge.text
    layer.scale = (5, 1, 1)
    assert picker.picture is None
    qtbot.waitUntil(lambda: picker.picture is not None)
    assert "5 × 1 × 1 mm" in picker.badge.text


def test_cropped_layer_of_ours_is_refused(viewer, picker, qtbot, scan):
    data, options, _ = read_layers(str(scan))[0]
    viewer.add_image(data[:-1], **options)
    qtbot.waitUntil(lambda: bool(picker.problem))
    assert "cropped" in picker.problem
    assert "unusable" in picker.badge.text


def test_file_is_opened_in_a_thread(viewer, picker, qtbot, scan):
    picker.open_file(str(scan))
    assert len(viewer.layers) == 0
    qtbot.waitUntil(lambda: picker.picture is not None)
    assert viewer.layers[0].name == "scan"
    assert picker.layer is viewer.layers[0]


def test_unreadable_file_is_said_in_a_sentence(viewer, picker, qtbot, tmp_path):
    path = tmp_path / "notes.nii.gz"
    path.write_text("not an image")
    picker.open_file(str(path))
    qtbot.waitUntil(lambda: "notes.nii.gz" in picker.open_error)
    assert len(viewer.layers) == 0
