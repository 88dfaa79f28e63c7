"""The Export panel: suggests, asks, writes in a thread, and says where."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox

from napari_medurwkv.io import image_from_array
from napari_medurwkv.widgets.export_panel import ExportPanel
from napari_medurwkv.widgets.reader import image_layer


@pytest.fixture
def panel(viewer, qtbot):
    panel = ExportPanel(viewer)
    qtbot.addWidget(panel)
    yield panel
    panel.shut_down()


@pytest.fixture
def labels(viewer):
    """Labels in a known geometry, without a file behind them."""
    image = image_from_array(
        np.zeros((4, 5, 6), np.uint8), affine=np.diag([-1, 1, 2, 1.0]), name="head"
    )
    _, options, _ = image_layer(image)
    data = np.zeros(image.array.shape, np.uint8)
    data[0, 0, 0] = 3
    return viewer.add_labels(
        data, metadata=options["metadata"], scale=options["scale"], name="mask"
    )


def wait_saved(qtbot, panel):
    qtbot.waitUntil(lambda: not panel.saving, timeout=5000)


def test_nothing_to_save(panel):
    assert not panel.ready


def test_says_the_grid_before_it_writes(panel, labels, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.badge.text == "LAS, 1 × 1 × 2 mm · known"
    assert panel.target.text().endswith("mask")
    assert [path.name for path in panel.planned] == [
        "mask.nii.gz",
        "mask_labels.txt",
        "mask.json",
    ]


def test_writes_where_it_says(panel, labels, qtbot, tmp_path):
    qtbot.waitUntil(lambda: panel.ready)
    target = tmp_path / "out.nii.gz"
    panel.target.setText(str(target))
    panel.button.click()
    assert panel.saving
    wait_saved(qtbot, panel)
    assert str(target) in panel.status
    saved = nib.load(target)
    assert saved.shape == (4, 5, 6)
    np.testing.assert_array_equal(saved.affine, np.diag([-1, 1, 2, 1.0]))


def test_voxels_of_the_moment_are_written(panel, labels, qtbot, tmp_path):
    qtbot.waitUntil(lambda: panel.ready)
    labels.data_setitem((np.array([1]), np.array([1]), np.array([1])), 7)
    panel.target.setText(str(tmp_path / "out.nii.gz"))
    panel.save()
    wait_saved(qtbot, panel)
    assert np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj).max() == 7


def test_asks_before_it_replaces(panel, labels, qtbot, tmp_path, monkeypatch):
    qtbot.waitUntil(lambda: panel.ready)
    target = tmp_path / "out.nii.gz"
    target.write_bytes(b"precious")
    panel.target.setText(str(target))
    asked = []

    def answer(button):
        def question(*args):
            asked.append(args)
            return button

        monkeypatch.setattr(QMessageBox, "question", question)

    answer(QMessageBox.StandardButton.No)
    panel.save()
    assert asked
    assert not panel.saving
    assert target.read_bytes() == b"precious"
    answer(QMessageBox.StandardButton.Yes)
    panel.save()
    wait_saved(qtbot, panel)
    assert nib.load(target).shape == (4, 5, 6)


def test_problem_is_said_in_a_sentence(panel, labels, qtbot, tmp_path):
    qtbot.waitUntil(lambda: panel.ready)
    panel.target.setText(str(tmp_path / "no" / "where.nii.gz"))
    panel.save()
    wait_saved(qtbot, panel)
    assert "folder" in panel.status


def test_nothing_without_a_name_or_a_format(panel, labels, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    panel.target.setText(" ")
    assert not panel.ready
    assert "name" in panel._files.text()
    panel.target.setText("mask")
    panel.formats.choose([])
    assert not panel.ready
    assert "Tick a format" in panel._files.text()


def test_formats_fit_the_mask(panel, labels, viewer, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    assert {"nifti", "seg-nrrd", "stl", "csv"} <= set(panel.formats.offered)
    assert not {"png", "coco", "dicom-seg"} & set(panel.formats.offered)
    viewer.add_labels(np.ones((4, 4), np.uint8), name="flat")
    qtbot.waitUntil(lambda: panel.target.text().endswith("flat") and panel.ready)
    assert {"png", "png-indexed", "coco"} <= set(panel.formats.offered)
    assert not {"stl", "glb", "dicom-seg"} & set(panel.formats.offered)
    assert [entry.key for entry in panel.formats.chosen] == ["png"]


def test_a_missing_package_is_said(panel, labels, qtbot, monkeypatch):
    from napari_medurwkv.export import formats

    qtbot.waitUntil(lambda: panel.ready)
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    panel.formats.offer(panel._mask.geometry, "nifti")
    assert "stl" not in panel.formats.offered
    tips = [panel.formats.item(i).toolTip() for i in range(panel.formats.count())]
    assert any("pip install 'napari-medurwkv[mesh]'" in tip for tip in tips)


def test_several_formats_with_one_button(panel, labels, qtbot, tmp_path):
    qtbot.waitUntil(lambda: panel.ready)
    panel.target.setText(str(tmp_path / "case"))
    panel.formats.choose(["nifti", "seg-nrrd", "csv"])
    planned = {path.name for path in panel.planned}
    panel.save()
    wait_saved(qtbot, panel)
    assert {path.name for path in tmp_path.iterdir()} == planned
    assert "case.seg.nrrd" in panel.status
    # What is there now would be replaced, and the list says so.
    panel.target.setText(str(tmp_path / "case "))
    panel.target.setText(str(tmp_path / "case"))
    assert panel._files.text().count("(replaces)") == len(planned)


def test_the_folder_is_written_short(panel, labels, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    panel.target.setText("~/scans/mask")
    assert panel._files.text().startswith("In ~/scans:\nmask.nii.gz")
    panel.target.setText("~/mask")
    assert panel._files.text().startswith("In ~:\n")


def test_options_are_shown_where_they_matter(panel, labels, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    panel.formats.choose(["nifti"])
    assert panel.space.isHidden() and panel.deidentify.isHidden()
    panel.formats.choose(["stl"])
    assert not panel.space.isHidden()
    assert any("<class>" in line for line in panel._files.text().splitlines())


def test_unknown_voxel_size_is_asked_for(panel, viewer, qtbot, tmp_path):
    viewer.add_labels(np.ones((3, 4, 5), np.uint8), name="raw")
    qtbot.waitUntil(lambda: panel.ready)
    assert not panel.spacing.isHidden()
    panel.spacing.setText("2, 0.5")
    assert not panel.ready
    assert "3 positive numbers" in panel._files.text()
    panel.spacing.setText("2, 0.5, 0.25 mm")
    panel.target.setText(str(tmp_path / "raw"))
    panel.save()
    wait_saved(qtbot, panel)
    assert nib.load(tmp_path / "raw.nii.gz").header.get_zooms() == (0.25, 0.5, 2)
    assert "assumed" in panel.status


def test_known_voxel_size_is_not_asked_for(panel, labels, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.spacing.isHidden()


def test_measurements_take_the_image_below(panel, viewer, qtbot, tmp_path):
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    viewer.add_image(values, scale=(2, 1, 1))
    mask = np.zeros(values.shape, np.uint8)
    mask[1, 2, 3] = 1
    viewer.add_labels(mask, scale=(2, 1, 1), name="m")
    qtbot.waitUntil(lambda: panel.ready)
    panel.target.setText(str(tmp_path / "m"))
    panel.formats.choose(["csv"])
    panel.save()
    wait_saved(qtbot, panel)
    _, row = (tmp_path / "m_measurements.csv").read_text().splitlines()
    assert f",{values[1, 2, 3]}," in row


def test_names_and_colours_of_now_are_written(panel, labels, qtbot, tmp_path):
    from napari.utils.colormaps import DirectLabelColormap

    from napari_medurwkv.io import read_labels

    labels.colormap = DirectLabelColormap(
        color_dict={None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 3: "#0000ff"}
    )
    labels.features = {"index": [0, 3], "name": ["background", "cyst"]}
    qtbot.waitUntil(lambda: panel.ready)
    panel.target.setText(str(tmp_path / "case.seg.nrrd"))
    panel.save()
    wait_saved(qtbot, panel)
    (cyst,) = read_labels(tmp_path / "case.seg.nrrd").classes
    assert (cyst.value, cyst.name, cyst.color) == (3, "cyst", "#0000ff")


def test_assumed_geometry_is_said_again_after_saving(panel, viewer, qtbot, tmp_path):
    viewer.add_labels(np.ones((4, 4), np.uint8))
    qtbot.waitUntil(lambda: panel.ready)
    assert "assumed" in panel.badge.text
    panel.target.setText(str(tmp_path / "out.png"))
    panel.save()
    wait_saved(qtbot, panel)
    assert "assumed" in panel.status


def test_typed_name_stays_when_the_layer_changes(panel, labels, viewer, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    panel.target.setText("my_name")
    viewer.add_labels(np.ones((4, 4), np.uint8))
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.target.text() == "my_name"


def test_suggestion_follows_the_layer(panel, labels, viewer, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    viewer.add_labels(np.ones((4, 4), np.uint8), name="flat")
    qtbot.waitUntil(lambda: panel.target.text().endswith("flat"))
