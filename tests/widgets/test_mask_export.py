"""Masks on their way to files: which grid, which name, which record."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.samples import find_sample
from napari_medurwkv.widgets.layer_image import take_snapshot
from napari_medurwkv.widgets.mask_export import (
    find_mask,
    suggest_stem,
    write_mask,
)
from napari_medurwkv.widgets.reader import read_layers


@pytest.fixture
def scan(tmp_path):
    values = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(np.int16)
    image = nib.Nifti1Image(values, np.diag([-0.5, 0.7, 3, 1]))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def image(scan):
    data, options, _ = read_layers(str(scan))[0]
    return Image(data, **options)


def test_labels_drawn_over_an_image_get_its_grid(image, scan, tmp_path):
    # As napari's "new labels" makes them: the image's transform, no metadata.
    labels = Labels(
        (image.data > 4).astype(np.uint8),
        scale=image.scale,
        translate=image.translate,
        name="mine",
    )
    mask = find_mask(take_snapshot(labels), [take_snapshot(image)])
    assert "scan" in mask.origin
    written = write_mask(mask, tmp_path / "mine.nii.gz", overwrite=False)
    original, saved = nib.load(scan), nib.load(written.path)
    np.testing.assert_array_equal(saved.affine, original.affine)
    np.testing.assert_array_equal(
        np.asarray(saved.dataobj), np.asarray(original.dataobj) > 4
    )
    assert json.loads(written.record.read_text())["kind"] == "napari-medurwkv mask"


def test_labels_elsewhere_do_not_get_a_grid_that_is_not_theirs(image):
    labels = Labels(np.zeros(image.data.shape, np.uint8), scale=image.scale + 1)
    mask = find_mask(take_snapshot(labels), [take_snapshot(image)])
    assert mask.geometry.assumed


def test_name_beside_the_image(image, tmp_path):
    labels = Labels(np.zeros(image.data.shape, np.uint8), metadata=image.metadata)
    mask = find_mask(take_snapshot(labels), [])
    assert suggest_stem(mask, tmp_path / "home") == tmp_path / "scan_mask"


def test_name_without_an_image_file(tmp_path):
    flat = find_mask(take_snapshot(Labels(np.zeros((4, 4), int), name="a/b c")), [])
    assert suggest_stem(flat, tmp_path) == tmp_path / "a_b_c"
    deep = find_mask(take_snapshot(Labels(np.zeros((4, 4, 4), int), name="x")), [])
    assert suggest_stem(deep, tmp_path) == tmp_path / "x"


def test_masks_of_samples_do_not_go_into_the_package(tmp_path):
    data, options, _ = read_layers(str(find_sample("brain").path))[0]
    labels = Labels(np.zeros(data.shape, np.uint8), metadata=options["metadata"])
    mask = find_mask(take_snapshot(labels), [])
    assert suggest_stem(mask, tmp_path) == tmp_path / "brain_mask"


def test_unknown_ending_is_refused_in_a_sentence():
    flat = find_mask(take_snapshot(Labels(np.zeros((4, 4), int))), [])
    with pytest.raises(OutputError, match=r"\.nii\.gz"):
        write_mask(flat, "mask.docx", overwrite=False)


def test_resized_layer_is_refused(image):
    labels = Labels(np.zeros((2, 2, 2), np.uint8), metadata=image.metadata)
    with pytest.raises(GeometryError, match="cropped or resampled"):
        find_mask(take_snapshot(labels), [])


@pytest.fixture
def segmented(viewer, panel, segment, masks, scan):
    data, options, _ = read_layers(str(scan))[0]
    viewer.add_image(data.astype(np.float32), **options)
    segment(panel)
    return masks()[0]


def test_record_tells_what_a_person_changed(segmented, tmp_path):
    mask = find_mask(take_snapshot(segmented), [])
    written = write_mask(mask, tmp_path / "a.nii.gz", overwrite=False)
    assert written.changed == 0
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["parameters"]["edited_by_hand"] is False

    where = np.argwhere(segmented.data != 2)[:3]
    segmented.data_setitem(tuple(where.T), 2)
    written = write_mask(mask, tmp_path / "b.nii.gz", overwrite=False)
    assert written.changed == 3
    record = json.loads((tmp_path / "b.json").read_text())
    assert record["parameters"]["edited_by_hand"] is True
    assert record["parameters"]["changed_voxels"] == 3
    assert record["complete"] is True


def test_existing_file_is_not_replaced_unasked(segmented, tmp_path):
    mask = find_mask(take_snapshot(segmented), [])
    target = tmp_path / "a.nii.gz"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        write_mask(mask, target, overwrite=False)
    assert target.read_bytes() == b"precious"
    write_mask(mask, target, overwrite=True)
    assert nib.load(target).shape == (5, 6, 7)


def test_edits_of_a_mask_without_its_original_are_not_known(segmented, tmp_path):
    snapshot = take_snapshot(segmented)
    block = {**segmented.metadata["medurwkv"]}
    del block["original"]
    state = {**snapshot.state, "metadata": {"medurwkv": block}}
    mask = find_mask(replace(snapshot, state=state), [])
    written = write_mask(mask, tmp_path / "a.nii.gz", overwrite=False)
    assert written.changed is None
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["parameters"]["edited_by_hand"] is None


def test_several_frames_are_refused():
    labels = Labels(np.zeros((3, 4, 5, 6), np.uint8))
    mask = find_mask(take_snapshot(labels), [])
    with pytest.raises(GeometryError, match="one frame at a time"):
        write_mask(mask, "never.nii.gz", overwrite=False)


def test_only_the_file_that_was_asked_about_is_replaced(tmp_path):
    """napari asks about the name in its dialog, and about nothing beside it."""
    deep = find_mask(
        take_snapshot(Labels(np.ones((3, 4, 5), int), scale=(2, 1, 1))), []
    )
    (tmp_path / "m_labels.txt").write_text("mine")
    (tmp_path / "m.nii.gz").write_text("asked about")
    write_mask(deep, tmp_path / "m.nii.gz", overwrite=True)
    assert nib.load(tmp_path / "m.nii.gz").shape == (5, 4, 3)
    assert (tmp_path / "m_labels.txt").read_text() == "mine"
    (tmp_path / "m_slices.csv").write_text("mine")
    with pytest.raises(OutputError, match="not asked about"):
        write_mask(deep, tmp_path / "m.csv", overwrite=True)
    (tmp_path / "m_1_old.stl").write_text("mine")
    with pytest.raises(OutputError, match="not asked about"):
        write_mask(deep, tmp_path / "m.stl", overwrite=True)
    assert (tmp_path / "m_slices.csv").read_text() == "mine"
    assert not (tmp_path / "m.csv").exists()


CORRECTION = {"edited_voxels": 3, "tools": {"Grow": 1}, "share_of_model_kept": 0.9}


def test_what_was_done_by_hand_is_in_the_record(segmented, tmp_path):
    segmented.metadata["medurwkv-correction"] = CORRECTION
    mask = find_mask(take_snapshot(segmented), [])
    written = write_mask(mask, tmp_path / "mask.nii.gz", overwrite=False)
    record = json.loads(written.record.read_text())
    assert record["parameters"]["correction"] == CORRECTION


def test_so_it_is_of_a_mask_that_no_model_made(image, tmp_path):
    labels = Labels(np.ones(image.data.shape, np.uint8), name="mine")
    labels.metadata["medurwkv-correction"] = CORRECTION
    mask = find_mask(take_snapshot(labels), [])
    written = write_mask(mask, tmp_path / "mine.nii.gz", overwrite=False)
    record = json.loads(written.record.read_text())
    assert record["correction"] == CORRECTION
