"""Names and colours of a mask's values, from the files beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_medurwkv.io import is_label_file, read_labels
from napari_medurwkv.io.label_names import LabelName, names_beside

SNAP = """################
# ITK-SnAP Label Description File
################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0   16        1  1  1    "Left \\"big\\" lobe"
    2     0  255    0        1  1  1    "Liver"
"""


@pytest.fixture
def mask(save_nifti):
    return save_nifti(np.array([[[0, 1], [2, 0]]], np.uint8).repeat(3, 0), name="m.nii")


@pytest.mark.parametrize("name", ["m.txt", "m.label", "m_labels.txt"])
def test_itk_snap(mask, name):
    assert not is_label_file(mask)
    mask.with_name(name).write_text(SNAP)
    assert is_label_file(mask)
    assert read_labels(mask).classes == (
        LabelName(1, 'Left "big" lobe', "#ff0010"),
        LabelName(2, "Liver", "#00ff00"),
    )


def test_sidecar(mask):
    labels = [
        {"value": 2, "name": "Liver", "color": "#00FF00", "code": "SCT^10200004^Liver"},
        {"value": 0, "name": "background", "color": "#000000"},
        {"value": 1, "name": "Spleen"},
    ]
    mask.with_name("m.json").write_text(json.dumps({"labels": labels}))
    first, second = read_labels(mask).classes
    assert (first.value, first.name) == (1, "Spleen")
    assert first.color.startswith("#")
    assert second == LabelName(2, "Liver", "#00ff00", "SCT^10200004^Liver")


def test_names_by_value(mask):
    mask.with_name("m.json").write_text(json.dumps({"labels": {"1": "a", "2": "b"}}))
    assert [c.name for c in names_beside(mask)] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", "{"),
        ("m.json", '{"RepetitionTime": 2.0}'),
        ("m.json", '{"labels": [1, 2]}'),
        ("m.json", '{"labels": [{"value": "x", "name": "y"}]}'),
        ("m.txt", "Some words about the scan."),
        ("m.txt", '1 255 0 999 1 1 1 "x"'),
        ("m.txt", '1 255 0 0 1 1 1 "x'),
    ],
)
def test_other_files_beside_an_image_are_left_alone(mask, name, text):
    mask.with_name(name).write_text(text)
    assert names_beside(mask) == ()
    assert not is_label_file(mask)


def test_intent_of_nifti(save_nifti):
    values = np.ones((3, 4, 5), np.uint8)
    assert is_label_file(save_nifti(values, name="a.nii", intent_code=1002))
    assert not is_label_file(save_nifti(values, name="b.nii"))


@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd", ".ome.tif", ".png"])
def test_double_endings(tmp_path, ending):
    (tmp_path / "a.b.txt").write_text(SNAP)
    assert len(names_beside(tmp_path / f"a.b{ending}")) == 2
