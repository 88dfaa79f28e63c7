from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from napari_medurwkv.io import read_labels
from napari_medurwkv.provenance import RunRecord


@pytest.fixture
def volume(tmp_path):
    """A small oblique scan in a file, not in display order."""
    values = np.random.default_rng(0).normal(100, 20, (40, 44, 30)).astype(np.float32)
    affine = np.array(
        [[-2, 0, 0.2, 30], [0, 2, 0, -40], [0.2, 0, 2.5, 7], [0, 0, 0, 1]], float
    )
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "cells.png"
    values = np.random.default_rng(0).integers(0, 255, (90, 70), np.uint8)
    Pictures.fromarray(values).save(path)
    return path


def test_a_volume_gets_a_mask_on_its_own_grid_and_a_record(
    medurwkv, embedded, volume, tmp_path
):
    mask = tmp_path / "mask.nii.gz"
    answer = medurwkv("segment", volume, mask)
    written, image = nib.load(mask), nib.load(volume)
    assert np.array_equal(written.affine, image.affine)
    assert written.shape == image.shape
    assert np.asarray(written.dataobj).any()
    record = RunRecord.model_validate_json((tmp_path / "mask.json").read_text())
    assert record.model.name == "brain-tissue"
    assert record.complete
    assert "grey matter" in answer.stdout
    assert " mL" in answer.stdout
    assert "Research use only" in answer.stderr
    assert "Computed on" in answer.stderr


def test_json_is_one_document_and_nothing_else(medurwkv, embedded, picture, tmp_path):
    mask = tmp_path / "mask.png"
    document = json.loads(medurwkv("segment", picture, mask, "--json").stdout)
    assert document["mask"] == str(mask)
    assert document["run"] == json.loads((tmp_path / "mask.json").read_text())
    (nucleus,) = document["measures"]
    labels = read_labels(mask).array
    assert nucleus["voxels"] == np.count_nonzero(labels == 1) > 0
    assert nucleus["unit"] == "px"


def test_a_forecast_writes_nothing(medurwkv, embedded, picture, tmp_path):
    mask = tmp_path / "mask.png"
    answer = medurwkv("segment", picture, mask, "--device", "cpu", "--forecast")
    assert "About" in answer.stderr
    assert "windows" in answer.stderr
    assert not mask.exists()
    as_json = medurwkv(
        "segment", picture, mask, "--device", "cpu", "--forecast", "--tta", "--json"
    )
    assert json.loads(as_json.stdout)["windows"] > 0


def test_mirror_images_are_noted(medurwkv, embedded, picture, tmp_path):
    medurwkv("segment", picture, tmp_path / "mask.png", "--tta")
    record = RunRecord.model_validate_json((tmp_path / "mask.json").read_text())
    assert record.parameters["tta"] is True


def test_instances_are_numbered_and_counted(medurwkv, embedded, picture, tmp_path):
    mask = tmp_path / "mask.tif"
    answer = medurwkv("segment", picture, mask, "--instances", "--json")
    (nucleus,) = json.loads(answer.stdout)["measures"]
    objects = read_labels(mask).array
    assert nucleus["components"] == objects.max() > 1
    text = medurwkv("segment", picture, tmp_path / "b.tif", "--instances").stdout
    assert "Objects" in text


def test_a_model_is_chosen_by_path(medurwkv, picture, models_folder, tmp_path):
    model = models_folder / "nuclei.safetensors"
    medurwkv("segment", picture, tmp_path / "mask.png", "--model", model)


def test_a_frame_is_chosen(medurwkv, embedded, volume, tmp_path):
    image = nib.load(volume)
    frames = np.stack([np.zeros(image.shape, np.float32), image.get_fdata()], -1)
    series = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(frames.astype(np.float32), image.affine), series)
    answer = medurwkv("segment", series, tmp_path / "a.nii.gz", code=1)
    assert "frame" in answer.stderr
    medurwkv("segment", series, tmp_path / "a.nii.gz", "--frame", 1)
    medurwkv("segment", volume, tmp_path / "b.nii.gz")
    assert np.array_equal(
        read_labels(tmp_path / "a.nii.gz").array,
        read_labels(tmp_path / "b.nii.gz").array,
    )


def test_nothing_that_exists_is_replaced_unless_asked(
    medurwkv, embedded, picture, tmp_path
):
    mask, record = tmp_path / "mask.png", tmp_path / "mask.json"
    medurwkv("segment", picture, mask)
    before = mask.stat().st_mtime_ns, record.stat().st_mtime_ns
    answer = medurwkv("segment", picture, mask, code=1)
    assert "--overwrite" in answer.stderr
    mask.rename(tmp_path / "away.png")
    answer = medurwkv("segment", picture, mask, code=1)
    assert "mask.json exists already" in answer.stderr
    assert not mask.exists()
    (tmp_path / "away.png").rename(mask)
    assert before == (mask.stat().st_mtime_ns, record.stat().st_mtime_ns)
    medurwkv("segment", picture, mask, "--overwrite")
    assert before[0] != mask.stat().st_mtime_ns


def test_json_files_of_other_programs_are_never_replaced(
    medurwkv, embedded, picture, tmp_path
):
    sidecar = tmp_path / "mask.json"
    sidecar.write_text('{"EchoTime": 0.03}')
    answer = medurwkv("segment", picture, tmp_path / "mask.png", "--overwrite", code=1)
    assert "no record of this program" in answer.stderr
    assert sidecar.read_text() == '{"EchoTime": 0.03}'
    assert not (tmp_path / "mask.png").exists()


def test_the_image_itself_is_not_replaced(medurwkv, embedded, picture):
    before = picture.read_bytes()
    answer = medurwkv("segment", picture, picture, "--overwrite", code=1)
    assert "image itself" in answer.stderr
    assert picture.read_bytes() == before


def test_ctrl_c_stops_at_the_next_window_and_writes_nothing(
    medurwkv, embedded, volume, tmp_path, monkeypatch
):
    done = []

    @contextmanager
    def interrupting_bar(title):
        def tell(progress):
            if progress.done == 2 and 2 not in done:
                signal.raise_signal(signal.SIGINT)
            done.append(progress.done)

        yield tell

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("napari_medurwkv.cli.segment.progress_bar", interrupting_bar)
    answer = medurwkv("segment", volume, tmp_path / "mask.nii.gz", code=130)
    assert max(done) == 2
    assert "cancelled after 2 of" in answer.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.nii.gz"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def wrong(tmp_path, volume, picture, models_folder):
    """Make an input that cannot work; give the words of the command line."""
    image, model = nib.load(volume), None

    def nifti(name, values):
        nib.save(nib.Nifti1Image(values, image.affine), tmp_path / name)
        return tmp_path / name

    def make(kind):
        nonlocal model
        path, mask = volume, tmp_path / "mask.nii.gz"
        if kind == "missing file":
            path = tmp_path / "no.nii.gz"
        elif kind == "text file":
            path = tmp_path / "text.nii.gz"
            path.write_text("this is no image\n" * 100)
        elif kind == "truncated checkpoint":
            whole = (models_folder / "brain-tissue.safetensors").read_bytes()
            model = tmp_path / "cut.safetensors"
            model.write_bytes(whole[: len(whole) // 2])
        elif kind == "pickle":
            model = tmp_path / "weights.pth"
            torch.save({"weight": torch.zeros(3)}, model)
        elif kind == "unknown model":
            model = "liver"
        elif kind == "empty image":
            path = nifti("empty.nii.gz", np.zeros((0, 4, 4), np.float32))
        elif kind == "image of NaN":
            path = nifti("nan.nii.gz", np.full((8, 8, 8), np.nan, np.float32))
        elif kind == "4D":
            path = nifti("series.nii.gz", np.zeros((8, 8, 8, 3), np.float32))
        elif kind == "2D for a 3D model":
            path, model = picture, "brain-tissue"
        elif kind == "ending":
            mask = tmp_path / "mask.jpg"
        elif kind == "3D as PNG":
            mask = tmp_path / "mask.png"
        elif kind == "no folder":
            mask = tmp_path / "nowhere" / "mask.nii.gz"
        elif kind == "folder":
            mask = tmp_path
        return [path, mask, *(["--model", model] if model else [])]

    return make


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing file", "no.nii.gz does not exist"),
        ("text file", "text.nii.gz"),
        ("truncated checkpoint", "truncated"),
        ("pickle", "of no known family of RWKV vision networks"),
        ("unknown model", "the models here are brain-tissue, nuclei"),
        ("empty image", "empty"),
        ("image of NaN", "NaN"),
        ("4D", "frame"),
        ("2D for a 3D model", "segments 3D volumes and this image is 2D"),
        ("ending", "cannot be written as mask.jpg"),
        ("3D as PNG", "3D mask cannot be written as mask.png"),
        ("no folder", "nowhere does not exist"),
        ("folder", "is a folder"),
    ],
)
def test_wrong_input_gets_one_sentence(
    medurwkv, embedded, wrong, kind, sentence, tmp_path
):
    words = wrong(kind)
    before = sorted(tmp_path.iterdir())
    answer = medurwkv("segment", *words, code=1)
    assert sentence in answer.stderr
    assert answer.stderr.startswith("Error: ")
    assert answer.stderr.count("\n") == 1
    assert not answer.stdout
    assert sorted(tmp_path.iterdir()) == before


def test_rgb_for_a_one_channel_model_gets_its_sentence(
    medurwkv, embedded, grey_model, tmp_path
):
    colour = tmp_path / "colour.png"
    Pictures.fromarray(np.zeros((40, 40, 3), np.uint8)).save(colour)
    words = ("segment", colour, tmp_path / "mask.png", "--model", grey_model)
    answer = medurwkv(*words, code=1)
    assert "This image is RGB and grey takes images of 1 channel" in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--overlap", "1.5", "overlap is 1.5"),
        ("--device", "abacus", "no device"),
        ("--instances", None, "cannot separate objects"),
    ],
)
def test_wrong_options_get_a_sentence(
    medurwkv, embedded, volume, tmp_path, option, value, sentence
):
    words = [option] if value is None else [option, value]
    answer = medurwkv("segment", volume, tmp_path / "m.nii.gz", *words, code=1)
    assert sentence in answer.stderr


def test_a_read_only_folder_is_said_before_the_work(
    medurwkv, embedded, volume, tmp_path, monkeypatch
):
    locked = tmp_path / "locked"
    locked.mkdir()
    # Root may write anywhere, so the question itself is answered here.
    monkeypatch.setattr(os, "access", lambda path, mode: path != locked)
    monkeypatch.setattr("napari_medurwkv.io.read_image", None)
    answer = medurwkv("segment", volume, locked / "mask.nii.gz", code=1)
    assert "may not be written to" in answer.stderr


def test_no_space_left_leaves_nothing(
    medurwkv, embedded, volume, tmp_path, monkeypatch
):
    def full(*arguments):
        arguments[0].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_medurwkv.io.write.write_nifti", full)
    answer = medurwkv("segment", volume, tmp_path / "mask.nii.gz", code=1)
    assert "no space left" in answer.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.nii.gz"]


def test_uncertainty_lies_where_the_image_lies(medurwkv, embedded, volume, tmp_path):
    mask, doubt = tmp_path / "mask.nii.gz", tmp_path / "doubt.nii.gz"
    answer = medurwkv("segment", volume, mask, "--uncertainty", doubt, "--tta")
    image = nib.load(volume)
    for name in ("doubt.nii.gz", "doubt-disagreement.nii.gz"):
        written = nib.load(tmp_path / name)
        assert np.array_equal(written.affine, image.affine)
        values = np.asarray(written.dataobj)
        assert values.shape == image.shape
        assert 0 <= values.min() <= values.max() <= 1
    assert str(doubt) in answer.stderr
    record = RunRecord.model_validate_json((tmp_path / "mask.json").read_text())
    # Slices of the record are in display order; the last file axis is the first there.
    sums = np.asarray(nib.load(doubt).dataobj).sum((0, 1))
    np.testing.assert_allclose(record.uncertainty.slices[0], sums, atol=0.01)


def test_places_for_further_files_are_looked_at_before_the_work(
    medurwkv, embedded, volume, tmp_path
):
    there = tmp_path / "there.nii.gz"
    there.write_text("mine")
    mask = tmp_path / "mask.nii.gz"
    for option, path, words in (
        ("--uncertainty", there, "exists already"),
        ("--uncertainty", tmp_path / "doubt.png", ".nii.gz"),
        ("--keep-probabilities", there, "exists already"),
    ):
        answer = medurwkv("segment", volume, mask, option, path, code=1)
        assert words in answer.stderr
    assert not mask.exists()
    assert there.read_text() == "mine"


def test_views_are_noted(medurwkv, embedded, volume, tmp_path):
    medurwkv("segment", volume, tmp_path / "mask.nii.gz", "--views", "axial,sagittal")
    record = RunRecord.model_validate_json((tmp_path / "mask.json").read_text())
    assert record.parameters["views"] == ["sagittal", "axial"]
    wrong = tmp_path / "other.nii.gz"
    answer = medurwkv("segment", volume, wrong, "--views", "oblique", code=1)
    assert "axial, coronal, sagittal" in answer.stderr


@pytest.fixture
def film(tmp_path):
    """Three times, two channels; the file does not say which axis is which."""
    import tifffile

    values = np.random.default_rng(0).integers(0, 255, (3, 2, 64, 48), np.uint8)
    path = tmp_path / "film.tif"
    tifffile.imwrite(path, values, photometric="minisblack")
    return path, values


def test_all_frames_of_a_channel_go_into_one_file(medurwkv, embedded, film, tmp_path):
    path, _ = film
    mask = tmp_path / "masks.tif"
    said = ("--axes", "TCYX", "--channels", "1", "--device", "cpu")
    answer = medurwkv("segment", path, mask, *said, "--frame", "all", "--json")
    assert json.loads(answer.stdout)["frames"] == 3
    record = RunRecord.model_validate_json((tmp_path / "masks.json").read_text())
    assert record.complete
    assert record.parameters["frames"] == 3
    for number in range(3):
        one = tmp_path / f"{number}.png"
        medurwkv("segment", path, one, *said, "--frame", number)
        expected = read_labels(one).array
        np.testing.assert_array_equal(read_labels(mask, frame=number).array, expected)
        assert expected.any()


def test_all_frames_need_a_file_that_has_room_for_them(
    medurwkv, embedded, film, tmp_path
):
    said = ("--axes", "TCYX", "--channels", "1", "--frame")
    answer = medurwkv("segment", film[0], tmp_path / "a.png", *said, "all", code=1)
    assert "one of the endings .nii.gz" in " ".join(answer.stderr.split())
    answer = medurwkv("segment", film[0], tmp_path / "a.png", *said, "some", code=1)
    assert "give a number from 0, or all" in answer.stderr


def test_compiling_that_fails_is_said(
    medurwkv, embedded, picture, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", fail)
    answer = medurwkv("segment", picture, tmp_path / "mask.png", "--compile")
    said = " ".join(answer.stderr.split())
    assert "could not be compiled (no compiler here): went on" in said


def test_ctrl_c_keeps_the_frames_that_are_finished(
    medurwkv, embedded, film, tmp_path, monkeypatch
):
    from napari_medurwkv.cli import frames

    asked = []

    @contextmanager
    def interrupted():
        def cancelled():
            asked.append(None)
            # Each frame is one window, asked about before it and after it.
            return len(asked) > 4

        yield cancelled

    monkeypatch.setattr(frames, "cancel_on_interrupt", interrupted)
    mask = tmp_path / "masks.nii.gz"
    said = ("--axes", "TCYX", "--channels", "0", "--device", "cpu", "--frame", "all")
    answer = medurwkv("segment", film[0], mask, *said, code=130)
    assert "of 3 frames are kept" in answer.stderr
    record = RunRecord.model_validate_json((tmp_path / "masks.json").read_text())
    assert not record.complete
    finished = record.parameters["finished_frames"]
    assert 0 < finished < 3
    labels = np.asarray(nib.load(mask).dataobj)
    assert labels.shape[-1] == 3
    assert labels[..., 0].any()
    assert not labels[..., finished:].any()
