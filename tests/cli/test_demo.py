from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pictures

from napari_medurwkv.checkpoints import lookup
from napari_medurwkv.cli import demo as demo_module
from napari_medurwkv.io import read_labels
from napari_medurwkv.provenance import RunRecord
from napari_medurwkv.samples import list_samples


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_headless_writes_a_mask_a_record_and_a_picture_for_each_sample(
    medurwkv, embedded, here
):
    answer = medurwkv("demo", "--headless")
    folder = here / "medurwkv-demo"
    for sample in list_samples():
        ending = ".nii.gz" if sample.dimensions == 3 else ".png"
        mask = read_labels(folder / f"{sample.name}_mask{ending}")
        assert mask.array.any()
        text = (folder / f"{sample.name}_mask.json").read_text()
        assert RunRecord.model_validate_json(text).complete
        with Pictures.open(folder / f"{sample.name}_overlay.png") as picture:
            assert picture.width > 300
            assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 100
        assert sample.name in answer.stdout
    brain = next(s for s in list_samples() if s.dimensions == 3)
    written = nib.load(folder / "brain_mask.nii.gz")
    assert np.array_equal(written.affine, nib.load(brain.path).affine)
    assert "Dice" in answer.stdout
    assert "AJI" in answer.stdout
    assert "medurwkv-demo" in answer.stderr
    assert "tissue: A brown immunostain" in answer.stderr


def test_json_holds_agreement_and_nothing_that_exists_is_replaced(
    medurwkv, embedded, here
):
    (here / "medurwkv-demo").mkdir()
    document = json.loads(medurwkv("demo", "--json").stdout)
    assert document["folder"] == "medurwkv-demo-2"
    by_name = {entry["sample"]: entry for entry in document["samples"]}
    assert by_name["nuclei"]["instances"]
    assert 0 <= by_name["nuclei"]["agreement"]["aji"] <= 1
    assert by_name["tissue"]["agreement"] is None
    dice = {c["value"]: c["dice"] for c in by_name["brain"]["agreement"]["classes"]}
    assert 0 < dice[1] < 1
    again = medurwkv("demo", "--headless", "--output", "medurwkv-demo-2", code=1)
    assert "--overwrite" in again.stderr


def test_an_empty_mask_is_a_failure(medurwkv, mute_folder, here, monkeypatch):
    monkeypatch.setattr(lookup, "embedded_folder", lambda: mute_folder)
    answer = medurwkv("demo", "--headless", code=1)
    assert "nuclei, tissue, brain is empty" in answer.stderr


@pytest.fixture
def shown(monkeypatch):
    """Leave out the work; give what napari would be opened with."""
    opened = []
    monkeypatch.setattr("napari_medurwkv.samples.list_samples", tuple)
    monkeypatch.setattr(demo_module, "_open_napari", opened.append)
    return opened


def test_napari_opens_where_there_is_a_screen(medurwkv, here, shown, monkeypatch):
    monkeypatch.setattr(demo_module, "has_screen", lambda: True)
    medurwkv("demo", "--headless")
    assert not shown
    medurwkv("demo")
    assert len(shown) == 1


def test_without_screen_or_napari_it_says_so(medurwkv, here, shown, monkeypatch):
    monkeypatch.setattr(demo_module, "has_screen", lambda: False)
    assert "no screen" in medurwkv("demo").stderr
    monkeypatch.setattr(demo_module, "has_screen", lambda: True)
    monkeypatch.setattr(demo_module, "find_spec", lambda name: None)
    assert 'pip install "napari-medurwkv[all]"' in medurwkv("demo").stderr
    assert not shown
