"""DICOM SEG of files with several frames: times, stacks, and films without places."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from napari_medurwkv.errors import OutputError
from napari_medurwkv.export import ExportMask, export_mask
from napari_medurwkv.export.formats import find_format
from napari_medurwkv.io import read_image, read_labels

from .conftest import load_dicoms

dicoms = load_dicoms()

ORDERS = {
    "time by time": [(t, k) for t in range(2) for k in range(4)],
    "slice by slice": [(t, k) for k in range(4) for t in range(2)],
    "from the last": [(t, k) for t in (1, 0) for k in (3, 2, 1, 0)],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("time", [0, 1])
def test_a_time_point_of_an_enhanced_file(tmp_path, order, time):
    values = dicoms.numbers((2, 4, 7, 9))
    path = dicoms.write_enhanced(tmp_path / "a.dcm", values, ORDERS[order])
    image = read_image(path, frame=time)
    np.testing.assert_array_equal(image.array, values[time])
    labels = np.zeros(image.array.shape, np.uint8)
    labels[0, 1:3, 2:6] = 1
    labels[2:4, 4:6, 1:5] = 2
    export_mask(ExportMask(labels, image.geometry), ["dicom-seg"], tmp_path / "m")
    back = read_labels(tmp_path / "m.dcm")
    np.testing.assert_array_equal(back.array, labels)
    np.testing.assert_allclose(
        back.geometry.affine, image.geometry.affine, rtol=0, atol=1e-5
    )
    # Each frame of the mask refers to the frame of that time and place.
    seg = pydicom.dcmread(tmp_path / "m.dcm")
    for group in seg.PerFrameFunctionalGroupsSequence:
        derived = group.DerivationImageSequence[0].SourceImageSequence[0]
        frame = int(np.atleast_1d(derived.ReferencedFrameNumber)[0]) - 1
        when, k = ORDERS[order][frame]
        height = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        assert when == time
        assert height == pytest.approx(dicoms.positions(4)[k][2])


@pytest.mark.parametrize("frame", [None, 1])
def test_frames_without_places_are_told_what_to_use_instead(tmp_path, frame):
    values = dicoms.numbers((3, 7, 9), np.uint8)
    volume = frame is None
    path = dicoms.write_film(tmp_path / "a.dcm", values, volume=volume)
    image = read_image(path, frame=frame)
    mask = ExportMask(np.ones(image.array.shape, np.uint8), image.geometry)
    with pytest.raises(OutputError, match=r"frames .* state none; save") as caught:
        export_mask(mask, ["dicom-seg"], tmp_path / "m")
    offered = {"nifti", "seg-nrrd", "tiff"} if volume else {"nifti", "png", "tiff"}
    assert ("PNG" in str(caught.value)) == (not volume)
    export_mask(mask, sorted(offered), tmp_path / "m")
    assert find_format("dicom-seg").unfit(image.geometry)


def test_dciodvfy_finds_no_error_in_the_mask_of_a_time_point(tmp_path):
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    values = dicoms.numbers((2, 4, 7, 9))
    order = ORDERS["slice by slice"]
    path = dicoms.write_enhanced(tmp_path / "a.dcm", values, order)
    image = read_image(path, frame=1)
    labels = np.ones(image.array.shape, np.uint8)
    export_mask(ExportMask(labels, image.geometry), ["dicom-seg"], tmp_path / "m")
    answer = subprocess.run(
        [checker, "-new", tmp_path / "m.dcm"], capture_output=True, text=True
    )
    assert "Error" not in answer.stdout + answer.stderr


def test_a_file_that_lost_frames_since(tmp_path):
    values = dicoms.numbers((2, 4, 7, 9))
    order = ORDERS["time by time"]
    path = dicoms.write_enhanced(tmp_path / "a.dcm", values, order)
    image = read_image(path, frame=1)
    dicoms.write_enhanced(path, values, order[:4])
    mask = ExportMask(np.ones(image.array.shape, np.uint8), image.geometry)
    with pytest.raises(OutputError, match="has changed since"):
        export_mask(mask, ["dicom-seg"], tmp_path / "m")
