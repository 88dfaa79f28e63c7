"""``medurwkv models rank`` on a folder of pictures, or of volumes."""

from __future__ import annotations

import json

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
import torch

from napari_medurwkv.models import create_model


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for number in range(2):
        mask = np.zeros((40, 48), np.uint8)
        mask[8:30, 10 + number : 34] = 1
        picture = (80 * mask + rng.integers(0, 60, mask.shape)).astype(np.uint8)
        iio.imwrite(tmp_path / "set" / "images" / f"{number}.png", picture)
        iio.imwrite(tmp_path / "set" / "labels" / f"{number}.png", mask)
    return tmp_path / "set"


def test_models_and_files_are_ranked(medurwkv, embedded, folder, tmp_path):
    encoder = tmp_path / "encoder.pth"
    network = create_model("vrwkv_tiny", img_size=32, embed_dim=16, depth=1)
    torch.save(network.state_dict(), encoder)
    restorer = tmp_path / "restorer.pth"
    other = create_model("restore_rwkv", dim=8, depths=(1, 1, 1, 1), refinement=1)
    torch.save(other.state_dict(), restorer)
    answer = medurwkv(
        "models",
        "rank",
        folder,
        "--checkpoint",
        encoder,
        "--checkpoint",
        restorer,
        "--json",
    )
    document = json.loads(answer.stdout)
    assert document["images"] == 2
    names = [entry["name"] for entry in document["ranking"]]
    assert sorted(names) == ["brain-tissue", "encoder.pth", "nuclei"]
    scores = [entry["score"] for entry in document["ranking"]]
    assert scores == sorted(scores, reverse=True)
    assert "restorer.pth: A RestoreRWKV has no encoder" in answer.stderr
    text = medurwkv("models", "rank", folder).stdout
    assert "Checkpoints by LogME on 2 pictures" in text


def test_volumes_give_their_fullest_slices(medurwkv, embedded, tmp_path):
    rng = np.random.default_rng(0)
    mask = np.zeros((32, 32, 9), np.uint8)
    mask[8:20, 8:20, 2:7] = 1
    for name, values in (
        ("images", (mask + rng.random(mask.shape)).astype(np.float32)),
        ("labels", mask),
    ):
        (tmp_path / name).mkdir()
        nib.save(
            nib.Nifti1Image(values, np.diag([-1.0, -1, 1, 1])),
            tmp_path / name / "a.nii.gz",
        )
    document = json.loads(medurwkv("models", "rank", tmp_path, "--json").stdout)
    assert document["images"] == 3
    assert document["ranking"][0]["classes"] == 2


def test_folders_that_cannot_be_compared(medurwkv, embedded, tmp_path, folder):
    assert "must hold two" in medurwkv("models", "rank", tmp_path, code=1).stderr
    (folder / "labels" / "0.png").unlink()
    (folder / "labels" / "1.png").unlink()
    assert "No image in" in medurwkv("models", "rank", folder, code=1).stderr
