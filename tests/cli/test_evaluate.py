from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pictures


def save(path, labels, affine=None):
    affine = np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


@pytest.fixture
def reference(tmp_path):
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[:3] = 1
    labels[3:5] = 2
    return save(tmp_path / "reference.nii.gz", labels)


def test_dice_and_iou_of_each_class(medurwkv, reference, tmp_path):
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[:2] = 1
    labels[3:5] = 2
    mask = save(tmp_path / "mask.nii.gz", labels)
    document = json.loads(medurwkv("evaluate", mask, reference, "--json").stdout)
    one, two = document["classes"]
    assert one["dice"] == pytest.approx(2 * 2 / 5)
    assert one["iou"] == pytest.approx(2 / 3)
    assert one["predicted"] == pytest.approx(2 * 7 * 8 * 12)
    assert document["unit"] == "mm³"
    assert two["dice"] == 1
    assert document["aji"] is None
    assert document["mean_dice"] == pytest.approx(0.9)
    text = medurwkv("evaluate", mask, reference).stdout
    assert "0.8000" in text
    assert "Mean Dice 0.9000" in text


def test_the_same_place_in_another_orientation_is_the_same_grid(
    medurwkv, reference, tmp_path
):
    image = nib.load(reference)
    turned = image.as_reoriented([[1, 1], [0, -1], [2, -1]])
    nib.save(turned, tmp_path / "turned.nii.gz")
    answer = medurwkv("evaluate", tmp_path / "turned.nii.gz", reference, "--json")
    assert json.loads(answer.stdout)["mean_dice"] == 1


def test_objects(medurwkv, tmp_path):
    labels = np.zeros((20, 20), np.uint8)
    labels[:5, :5], labels[10:15, 10:15] = 1, 2
    Pictures.fromarray(labels).save(tmp_path / "a.png")
    Pictures.fromarray(labels[:, :] * 3).save(tmp_path / "b.png")
    words = ("evaluate", tmp_path / "a.png", tmp_path / "b.png", "--instances")
    document = json.loads(medurwkv(*words, "--json").stdout)
    assert document["aji"] == 1
    assert document["unit"] == "pixel²"
    assert "Aggregated Jaccard index 1.0000" in medurwkv(*words).stdout


def test_different_grids_are_refused(medurwkv, reference, tmp_path):
    labels = np.asarray(nib.load(reference).dataobj)
    moved = np.diag([2.0, 2.0, 3.0, 1.0])
    moved[0, 3] = 1
    for name, mask, sentence in (
        ("shape", save(tmp_path / "shape.nii", labels[:-1]), "different grids"),
        ("moved", save(tmp_path / "moved.nii", labels, moved), "different places"),
        ("size", save(tmp_path / "size.nii", labels, np.eye(4)), "voxel sizes"),
    ):
        answer = medurwkv("evaluate", mask, reference, code=1)
        assert sentence in answer.stderr, name
        assert answer.stderr.count("\n") == 1


def test_a_picture_is_not_compared_with_a_scan(medurwkv, tmp_path):
    labels = np.ones((6, 7), np.uint8)
    Pictures.fromarray(labels).save(tmp_path / "a.png")
    rows = save(tmp_path / "b.nii", labels.T)
    shape = nib.load(rows).shape
    assert shape == (7, 6)
    answer = medurwkv("evaluate", tmp_path / "a.png", rows, code=1)
    assert "Only one of the masks" in answer.stderr


def test_what_is_no_mask_gets_a_sentence(medurwkv, reference, tmp_path):
    halves = save(tmp_path / "half.nii", np.full((6, 7, 8), 0.5, np.float32))
    assert "fractions" in medurwkv("evaluate", halves, reference, code=1).stderr
    missing = tmp_path / "no.nii"
    assert "does not exist" in medurwkv("evaluate", reference, missing, code=1).stderr


def test_distances_and_lesions(medurwkv, reference, tmp_path):
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[:2] = 1
    labels[3:5] = 2
    mask = save(tmp_path / "mask.nii.gz", labels)
    words = ("evaluate", mask, reference, "--tolerance", "2")
    document = json.loads(medurwkv(*words, "--json").stdout)
    one, two = document["classes"]
    assert one["hd95"] == pytest.approx(2)
    assert one["nsd"] == 1
    assert one["lesions_found"] == two["lesions_found"] == 1
    assert two["hd95"] == 0
    assert document["mean"]["hd95"] == pytest.approx(1)
    assert document["length_unit"] == "mm"
    assert "MONAI" in document["definitions"]["hd95"]
    text = medurwkv(*words).stdout
    assert "HD95, mm" in text
    assert "NSD at 2 mm" in text
    assert "mean" in text


def test_a_missing_class_shows_dashes_and_nulls(medurwkv, reference, tmp_path):
    mask = save(tmp_path / "mask.nii.gz", np.ones((6, 7, 8), np.uint8))
    document = json.loads(medurwkv("evaluate", mask, reference, "--json").stdout)
    assert document["classes"][1]["hd95"] is None
    assert document["classes"][1]["nsd"] == 0
    assert document["classes_in_mean"]["hd95"] == 1
    assert "–" in medurwkv("evaluate", mask, reference).stdout


def test_a_table_is_written_safely(medurwkv, reference, tmp_path):
    table = tmp_path / "table.csv"
    words = ("evaluate", reference, reference, "--csv", table)
    medurwkv(*words)
    header, one, two, mean = table.read_text().splitlines()
    assert header.startswith(
        "class,name,dice,iou,predicted,expected,hd95_mm,nsd,assd_mm"
    )
    assert one.startswith("1,,1.0,1.0,")
    assert two.startswith("2,,1.0,1.0,")
    assert mean.startswith("mean,,1.0,1.0,")
    assert "exists already" in medurwkv(*words, code=1).stderr
    medurwkv(*words, "--overwrite")


def test_resampling_is_done_only_when_asked_for(medurwkv, reference, tmp_path):
    labels = np.asarray(nib.load(reference).dataobj)
    coarse = save(
        tmp_path / "coarse.nii", labels.repeat(2, axis=2), np.diag([2.0, 2, 1.5, 1])
    )
    assert "--resample" in medurwkv("evaluate", coarse, reference, code=1).stderr
    answer = medurwkv("evaluate", coarse, reference, "--resample", "--json")
    document = json.loads(answer.stdout)
    assert document["resampled"]
    assert document["mean_dice"] == 1
    assert "nearest voxel" in answer.stderr


def test_classes_are_named_where_a_file_names_them(medurwkv, reference, tmp_path):
    names = {"labels": [{"value": 1, "name": "liver"}, {"value": 2, "name": "spleen"}]}
    (tmp_path / "reference.json").write_text(json.dumps(names))
    answer = medurwkv("evaluate", reference, reference)
    assert "1 liver" in answer.stdout
    document = json.loads(medurwkv("evaluate", reference, reference, "--json").stdout)
    assert [entry["name"] for entry in document["classes"]] == ["liver", "spleen"]


def test_the_masks_are_never_replaced_by_the_table(medurwkv, reference, tmp_path):
    mask = save(tmp_path / "mask.nii.gz", np.ones((6, 7, 8), np.uint8))
    for target in (mask, reference):
        before = target.read_bytes()
        answer = medurwkv(
            "evaluate", mask, reference, "--csv", target, "--overwrite", code=1
        )
        assert "is the image itself" in answer.stderr
        assert target.read_bytes() == before
