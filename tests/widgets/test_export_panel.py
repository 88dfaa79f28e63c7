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
    assert panel.target.text().endswith("mask.nii.gz")


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


@pytest.mark.parametrize(
    ("name", "words"), [("out.xyz", "ends in one of"), ("no/where.nii.gz", "folder")]
)
def test_problem_is_said_in_a_sentence(panel, labels, qtbot, tmp_path, name, words):
    qtbot.waitUntil(lambda: panel.ready)
    panel.target.setText(str(tmp_path / name))
    panel.save()
    wait_saved(qtbot, panel)
    assert words in panel.status


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
    panel.target.setText("my_name.nii.gz")
    viewer.add_labels(np.ones((4, 4), np.uint8))
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.target.text() == "my_name.nii.gz"


def test_suggestion_follows_the_layer(panel, labels, viewer, qtbot):
    qtbot.waitUntil(lambda: panel.ready)
    viewer.add_labels(np.ones((4, 4), np.uint8), name="flat")
    qtbot.waitUntil(lambda: panel.target.text().endswith("flat.png"))
