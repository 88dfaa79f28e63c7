"""The image picker finds the geometry in a thread and says what is known of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers._source import layer_source

from napari_medurwkv.widgets import image_picker
from napari_medurwkv.widgets.image_picker import ImagePicker
from napari_medurwkv.widgets.reader import read_layers

_spec = importlib.util.spec_from_file_location(
    "dicoms", Path(__file__).parents[1] / "io/dicoms.py"
)
dicoms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dicoms)


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
    assert picker.badge.text == "LAS, 0.5 × 0.7 × 3 mm, from the file · known"


def test_scale_without_a_file_is_named_as_the_source(viewer, picker, qtbot, volume):
    viewer.add_image(volume, units="mm", scale=(2, 1, 1))
    qtbot.waitUntil(lambda: picker.picture is not None)
    assert picker.badge.text == "2 × 1 × 1 mm, from the layer's scale · assumed"


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


def test_folder_of_several_series_asks_and_opens_what_was_chosen(
    viewer, picker, qtbot, tmp_path, monkeypatch
):
    dicoms.write_series(tmp_path)
    dicoms.write_series(tmp_path, dicoms.numbers((3, 7, 8)), series="1.2.5")
    monkeypatch.setattr(image_picker, "choose_series", lambda error, parent: (2,))
    picker.open_file(str(tmp_path))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)
    assert viewer.layers[0].data.shape == (3, 7, 8)


def test_tilted_slices_ask_and_stay_marked(
    viewer, picker, qtbot, tmp_path, monkeypatch
):
    folder = dicoms.write_series(tmp_path, places=dicoms.positions(step=(0, 0.6, 2)))
    asked = []
    monkeypatch.setattr(
        image_picker,
        "take_approximate",
        lambda error, parent: bool(asked.append(error)),
    )
    picker.open_file(str(folder))
    qtbot.waitUntil(lambda: len(asked) == 1)
    assert len(viewer.layers) == 0
    monkeypatch.setattr(image_picker, "take_approximate", lambda error, parent: True)
    picker.open_file(str(folder))
    qtbot.waitUntil(lambda: picker.picture is not None)
    assert "approximate" in picker.badge.text
    assert "approximate" in viewer.layers[0].name
    assert "approximate geometry" in picker._notes.text()


def test_mask_opens_as_labels(viewer, picker, qtbot, scan):
    scan.with_name("scan.txt").write_text('1 255 0 0 1 1 1 "Liver"')
    picker.open_file(str(scan))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)
    assert type(viewer.layers[0]).__name__ == "Labels"
