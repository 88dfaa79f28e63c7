"""``medurwkv export``: formats, grids, names, and what it asks for."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pictures

AFFINE = np.array([[-0.8, 0, 0, 3], [0, 0.9, 0, 5], [0, 0, 2.5, -7], [0, 0, 0, 1.0]])


@pytest.fixture
def files(tmp_path):
    """An image, and a mask of it stored in another orientation."""
    labels = np.zeros((7, 8, 9), np.uint8)
    labels[1:4, 2:5, 3:6], labels[5:, 5:, 6:] = 1, 2
    values = np.arange(labels.size, dtype=np.int16).reshape(labels.shape)
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "scan.nii.gz")
    turned = nib.Nifti1Image(labels, AFFINE).as_reoriented([[1, 1], [0, -1], [2, -1]])
    nib.save(turned, tmp_path / "drawn.nii.gz")
    return tmp_path / "drawn.nii.gz", tmp_path / "scan.nii.gz", labels, values


def test_onto_the_images_own_grid(medurwkv, files, tmp_path):
    mask, image, labels, _ = files
    words = ("export", mask, "--image", image, "-o", tmp_path / "out.nii.gz")
    answer = medurwkv(*words)
    assert "Wrote" in answer.stderr
    back = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(back.dataobj), labels)
    np.testing.assert_array_equal(back.affine, nib.load(image).affine)
    assert "exists already" in medurwkv(*words, code=1).stderr
    medurwkv(*words, "--overwrite")


def test_several_formats_and_intensities(medurwkv, files, tmp_path):
    mask, image, labels, values = files
    words = ("export", mask, "--image", image, "-f", "seg-nrrd,csv", "-f", "stl")
    document = json.loads(medurwkv(*words, "-o", tmp_path / "case", "--json").stdout)
    names = {path.rsplit("/", 1)[-1] for path in document["files"]}
    assert names == {
        "case.seg.nrrd",
        "case_measurements.csv",
        "case_slices.csv",
        "case_1_value_1.stl",
        "case_2_value_2.stl",
        "case.json",
    }
    with (tmp_path / "case_measurements.csv").open(newline="") as stream:
        first = next(csv.DictReader(stream))
    assert float(first["intensity_mean"]) == values[labels == 1].mean()


def test_beside_the_mask_by_default(medurwkv, files, tmp_path):
    mask, *_ = files
    medurwkv("export", mask, "-f", "seg-nrrd")
    assert (tmp_path / "drawn.seg.nrrd").exists()


def test_names_come_from_a_model(medurwkv, embedded, files, tmp_path):
    mask, *_ = files
    medurwkv("export", mask, "--model", "brain-tissue", "-o", tmp_path / "n.seg.nrrd")
    header = (tmp_path / "n.seg.nrrd").read_bytes()
    assert b"Segment0_Name:=grey matter" in header
    assert b"Segment0_Color:=0 1 0" in header


def test_names_are_kept_from_file_to_file(medurwkv, embedded, files, tmp_path):
    mask, *_ = files
    medurwkv("export", mask, "--model", "brain-tissue", "-o", tmp_path / "n.nii.gz")
    medurwkv("export", tmp_path / "n.nii.gz", "-o", tmp_path / "m.seg.nrrd")
    assert b"Segment1_Name:=white matter" in (tmp_path / "m.seg.nrrd").read_bytes()


def test_another_grid_is_refused(medurwkv, files, tmp_path):
    mask, *_ = files
    nib.save(nib.Nifti1Image(np.zeros((7, 8, 9)), np.eye(4)), tmp_path / "other.nii")
    answer = medurwkv(
        "export", mask, "--image", tmp_path / "other.nii", "-f", "stl", code=1
    )
    assert "grid" in answer.stderr or "different places" in answer.stderr


def test_an_unknown_size_is_asked_for(medurwkv, tmp_path):
    Pictures.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / "m.png")
    words = ("export", tmp_path / "m.png", "-f", "csv")
    assert "--spacing rows,columns" in medurwkv(*words, code=1).stderr
    medurwkv(*words, "--spacing", "0.5,0.25")
    text = (tmp_path / "m_measurements.csv").read_text()
    assert "area_mm2" in text
    assert "assumed" in text
    medurwkv(*words, "--spacing", "none", "--overwrite")
    assert "area_px2" in (tmp_path / "m_measurements.csv").read_text()
    assert "2 positive numbers" in medurwkv(*words, "--spacing", "1", code=1).stderr
    assert "numbers with commas" in medurwkv(*words, "--spacing", "a", code=1).stderr


def test_pictures_need_no_size(medurwkv, tmp_path):
    Pictures.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / "m.png")
    medurwkv("export", tmp_path / "m.png", "-f", "coco")
    assert (tmp_path / "m_coco.json").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-f", "docx"), "no format docx"),
        (("-o", "mask.docx"), "one of the endings"),
        (("-f", "png"), "planes"),
        (("-f", "dicom-seg"), "DICOM images"),
        (("-f", "stl", "--space", "XYZ"), "LPS or RAS"),
        ((), "--format or --output"),
    ],
)
def test_what_cannot_be_is_said(medurwkv, files, words, sentence):
    answer = medurwkv("export", files[0], *words, code=1)
    assert sentence in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_segmented_mask_is_known_to_be_untouched(
    medurwkv, embedded, files, tmp_path, monkeypatch
):
    """The record tells whether the file was changed since the model wrote it."""
    from napari_medurwkv import export

    _, image, *_ = files
    medurwkv("segment", image, tmp_path / "s.nii.gz", "--model", "brain-tissue")
    made = []
    real = export.export_mask

    def note(mask, *words, **options):
        made.append(mask.made_by)
        return real(mask, *words, **options)

    monkeypatch.setattr(export, "export_mask", note)
    words = ("export", tmp_path / "s.nii.gz", "-o", tmp_path / "t.seg.nrrd")
    medurwkv(*words, "--overwrite")
    back = nib.load(tmp_path / "s.nii.gz")
    labels = np.asarray(back.dataobj).copy()
    labels[0, 0, 0] = 1 - min(labels[0, 0, 0], 1)
    nib.save(nib.Nifti1Image(labels, back.affine, back.header), tmp_path / "s.nii.gz")
    medurwkv(*words, "--overwrite")
    assert made == ["AUTOMATIC", "SEMIAUTOMATIC"]
    assert b"grey matter" in (tmp_path / "t.seg.nrrd").read_bytes()


def test_objects_stay_objects(medurwkv, embedded, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Pictures.fromarray(picture).save(tmp_path / "cells.png")
    made = tmp_path / "objects.tif"
    medurwkv(
        "segment", tmp_path / "cells.png", made, "--model", "nuclei", "--instances"
    )
    medurwkv("export", made, "-f", "coco", "-o", tmp_path / "out")
    document = json.loads((tmp_path / "out_coco.json").read_text())
    assert [c["name"] for c in document["categories"]] == ["nucleus"]
    record = json.loads((tmp_path / "objects.json").read_text())
    assert len(document["annotations"]) == len(record["labels"])
    again = json.loads((tmp_path / "out.json").read_text())
    assert again["labels"] == record["labels"]
