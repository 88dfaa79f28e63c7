"""From a DICOM folder through napari to a DICOM mask, with the patient or without."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pydicom
import pytest

from napari_medurwkv.io import read_image, read_labels
from napari_medurwkv.widgets.export_panel import ExportPanel
from napari_medurwkv.widgets.reader import read_layers

PATH = Path(__file__).resolve().parents[1] / "io" / "dicoms.py"
SPEC = importlib.util.spec_from_file_location("medurwkv_dicoms", PATH)
dicoms = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(dicoms)


@pytest.fixture
def panel(viewer, qtbot):
    panel = ExportPanel(viewer)
    qtbot.addWidget(panel)
    yield panel
    panel.shut_down()


@pytest.mark.parametrize("deidentify", [False, True])
def test_a_drawn_mask_goes_back_onto_its_series(
    panel, viewer, qtbot, tmp_path, deidentify
):
    folder = dicoms.write_series(
        tmp_path / "Mustermann^Erika", dicoms.numbers((5, 6, 7))
    )
    ((data, options, _),) = read_layers(str(folder))
    image = viewer.add_image(data, **options)
    drawn = np.zeros(data.shape, np.uint8)
    drawn[1, 2, 3], drawn[4, 0, 6] = 2, 5
    viewer.add_labels(drawn, scale=image.scale, translate=image.translate, name="mine")
    qtbot.waitUntil(lambda: panel.ready)
    assert "dicom-seg" in panel.formats.offered
    # Folders of DICOM are often named after the patient: the mask's name is not.
    assert panel.target.text().endswith("ct_mask")
    assert panel.deidentify.isHidden()
    panel.formats.choose(["dicom-seg"])
    assert not panel.deidentify.isHidden()
    panel.deidentify.setChecked(deidentify)
    panel.labelmap.setChecked(deidentify)
    panel.target.setText(str(tmp_path / "mask"))
    panel.save()
    qtbot.waitUntil(lambda: not panel.saving, timeout=20000)
    assert "Saved" in panel.status
    back = read_labels(tmp_path / "mask.dcm")
    assert np.array_equal(back.array, np.searchsorted([0, 2, 5], drawn))
    np.testing.assert_allclose(
        back.geometry.affine, read_image(folder).geometry.affine, atol=1e-5
    )
    seg = pydicom.dcmread(tmp_path / "mask.dcm")
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
    assert seg.SegmentationType == ("LABELMAP" if deidentify else "BINARY")
    name = dicoms.PATIENT["PatientName"]
    assert (str(seg.PatientName) == name) is not deidentify


def test_why_a_film_gets_no_dicom_mask_is_said(panel, viewer, qtbot, tmp_path):
    values = dicoms.numbers((3, 6, 7), np.uint8)
    path = dicoms.write_film(tmp_path / "a.dcm", values, volume=True)
    ((data, options, _),) = read_layers(str(path))
    image = viewer.add_image(data, **options)
    viewer.add_labels(np.ones(data.shape, np.uint8), scale=image.scale, name="mine")
    qtbot.waitUntil(lambda: panel.ready)
    assert "dicom-seg" not in panel.formats.offered
    listed = [panel.formats.item(row) for row in range(panel.formats.count())]
    (grey,) = [item for item in listed if item.text().startswith("DICOM SEG")]
    assert "save the mask as NIfTI" in grey.toolTip()
