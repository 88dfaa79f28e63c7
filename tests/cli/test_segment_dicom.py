"""A DICOM folder on the command line: choose a series, approve what is inexact."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np

from napari_medurwkv.provenance import RunRecord

_spec = importlib.util.spec_from_file_location(
    "dicoms", Path(__file__).parents[1] / "io/dicoms.py"
)
dicoms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dicoms)


def noise(count):
    return np.random.default_rng(0).integers(0, 999, (count, 40, 44)).astype(np.int16)


def test_a_series_is_chosen(medurwkv, embedded, tmp_path):
    folder = dicoms.write_series(tmp_path / "scan", noise(6))
    dicoms.write_series(tmp_path / "scan", noise(3), series="1.2.5")
    mask = tmp_path / "mask.nii.gz"
    answer = medurwkv("segment", folder, mask, code=1)
    assert "1 = CT, series 1.2.3, 6 slices of 44 x 40; 2 = " in answer.stderr
    assert not mask.exists()
    medurwkv("segment", folder, mask, "--series", "1")
    written = nib.load(mask)
    assert written.shape == (44, 40, 6)
    expected = np.diag([-0.75, -0.5, 2, 1])
    expected[:3, 3] = (10, 20, 30)
    np.testing.assert_allclose(written.affine, expected)
    record = (tmp_path / "mask.json").read_text()
    for value in dicoms.PATIENT.values():
        assert value not in record
    assert RunRecord.model_validate_json(record).input.sha256_of == "array"


def test_approximate_geometry_is_approved_and_recorded(medurwkv, embedded, tmp_path):
    folder = dicoms.write_series(tmp_path / "scan", noise(8))
    (folder / "IMs_004.dcm").unlink()
    mask = tmp_path / "mask.nii.gz"
    answer = medurwkv("segment", folder, mask, code=1)
    assert "1 slice is missing" in answer.stderr
    assert "--approximate" in answer.stderr
    answer = medurwkv("segment", folder, mask, "--approximate")
    assert "Loaded with approximate geometry" in answer.stderr
    assert "approximate geometry" in (tmp_path / "mask.json").read_text()
