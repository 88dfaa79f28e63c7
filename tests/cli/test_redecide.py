"""Another mask from kept probabilities, on the command line."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from napari_medurwkv.provenance import RunRecord


@pytest.fixture
def volume(tmp_path):
    values = np.random.default_rng(0).normal(100, 20, (20, 22, 12)).astype(np.float32)
    affine = np.array([[-2, 0, 0, 30], [0, 2, 0, -40], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values, affine.astype(float)), path)
    return path


@pytest.fixture
def kept(medurwkv, embedded, volume, tmp_path):
    path = tmp_path / "kept"
    medurwkv("segment", volume, tmp_path / "mask.nii.gz", "--keep-probabilities", path)
    return path


def load(path):
    return np.asarray(nib.load(path).dataobj)


def test_without_a_change_it_is_the_same_mask(medurwkv, kept, volume, tmp_path):
    again = tmp_path / "again.nii.gz"
    medurwkv("redecide", volume, kept, again)
    np.testing.assert_array_equal(load(again), load(tmp_path / "mask.nii.gz"))
    assert np.array_equal(nib.load(again).affine, nib.load(volume).affine)
    first, second = (
        RunRecord.model_validate_json((tmp_path / name).read_text())
        for name in ("mask.json", "again.json")
    )
    assert second == first


def test_weights_by_name_and_value_change_it(medurwkv, kept, volume, tmp_path):
    outputs = []
    for name in ("white matter", "2"):
        path = tmp_path / f"more{len(outputs)}.nii.gz"
        answer = medurwkv(
            "redecide", volume, kept, path, "--weight", f"{name}=50", "--json"
        )
        run = json.loads(answer.stdout)["run"]
        assert run["parameters"]["decided_by"]["weights"] == {"2": 50.0}
        outputs.append(load(path))
    np.testing.assert_array_equal(*outputs)
    before = load(tmp_path / "mask.nii.gz")
    assert np.count_nonzero(outputs[0] == 2) > np.count_nonzero(before == 2)


def test_a_threshold_moves_the_foreground(medurwkv, kept, volume, tmp_path):
    sizes = []
    for threshold in ("0.05", "0.95"):
        path = tmp_path / f"t{threshold}.nii.gz"
        medurwkv("redecide", volume, kept, path, "--threshold", threshold)
        sizes.append(np.count_nonzero(load(path)))
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--weight", "brain=2"), "white matter"),
        (("--weight", "2=much"), "no number"),
        (("--threshold", "2"), "between 0 and 1"),
        (("--temperature", "0"), "above 0"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    options, words, medurwkv, kept, volume, tmp_path
):
    path = tmp_path / "other.nii.gz"
    answer = medurwkv("redecide", volume, kept, path, *options, code=1)
    assert words in answer.stderr
    assert not path.exists()


def test_another_image_is_refused(medurwkv, kept, volume, tmp_path):
    other = nib.load(volume)
    values = np.asarray(other.dataobj) + 1
    path = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(values, other.affine), path)
    answer = medurwkv("redecide", path, kept, tmp_path / "x.nii.gz", code=1)
    assert "another image" in answer.stderr
    answer = medurwkv("redecide", volume, volume, tmp_path / "x.nii.gz", code=1)
    assert "no probabilities of this program" in answer.stderr
