"""``medurwkv denoise`` on a file: same grid, values near, one sentence else."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_medurwkv.models import create_model


@pytest.fixture
def checkpoint(tmp_path):
    network = create_model("restore_rwkv", dim=8, depths=(1, 1, 1, 1), refinement=1)
    torch.nn.init.zeros_(network.output.weight)  # adds nothing to the image
    path = tmp_path / "Generator_best.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def scan(tmp_path):
    rng = np.random.default_rng(0)
    affine = np.array([[0, -2, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1.0]])
    values = rng.normal(100, 20, (14, 11, 3)).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def test_same_grid_same_units(medurwkv, checkpoint, scan, tmp_path):
    target = tmp_path / "clean.nii.gz"
    answer = medurwkv(
        "denoise", scan, target, "--model", checkpoint, "--device", "cpu", "--json"
    )
    assert json.loads(answer.stdout)["device"] == "cpu"
    before, after = nib.load(scan), nib.load(target)
    np.testing.assert_array_equal(before.affine, after.affine)
    assert after.get_data_dtype() == np.float32
    assert after.header.get_intent()[0] == "none"
    np.testing.assert_allclose(after.get_fdata(), before.get_fdata(), atol=0.01)
    again = medurwkv("denoise", scan, target, "--model", checkpoint, code=1)
    assert "use --overwrite" in again.stderr


def test_what_does_not_go_together(medurwkv, checkpoint, scan, embedded, tmp_path):
    target = tmp_path / "clean.nii.gz"
    answer = medurwkv("denoise", scan, target, "--model", "nuclei", code=1)
    assert "does not restore" in answer.stderr
    answer = medurwkv("segment", scan, target, "--model", checkpoint, code=1)
    assert "restores images and segments nothing" in answer.stderr
    answer = medurwkv(
        "denoise", scan, tmp_path / "clean.png", "--model", checkpoint, code=1
    )
    assert "end its name in .nii.gz" in answer.stderr
    assert not target.exists()
