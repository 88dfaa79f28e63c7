"""Killed or out of space while saving: the old files or the new, whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_medurwkv.errors import OutputError
from napari_medurwkv.export import ExportMask, export_mask
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import read_labels

SHAPE = (24, 96, 96)
FORMATS = ["nifti", "seg-nrrd", "ome-zarr", "tiff"]
ENDINGS = (".nii.gz", ".seg.nrrd", ".ome.zarr", ".tif")

# Saves in turns a mask of 1 and a mask of 2, over and over.
CHILD = """
import sys
from pathlib import Path
import numpy as np
from napari_medurwkv.export import ExportMask, export_mask
from napari_medurwkv.geometry import Geometry
folder, shape = Path(sys.argv[1]), tuple(map(int, sys.argv[2].split(",")))
keys = sys.argv[3].split(",")
noise = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
geometry = Geometry.from_affine(np.eye(4), shape[::-1])
masks = [ExportMask(geometry.to_display(noise.T * v), geometry) for v in (1, 2)]
print("ready", flush=True)
while True:
    for mask in masks:
        export_mask(mask, keys, folder / "m", overwrite=True)
        print("saved", flush=True)
"""


def start(folder):
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            CHILD,
            folder,
            ",".join(map(str, SHAPE)),
            ",".join(FORMATS),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = iter(child.stdout.readline, "")
    while next(lines).strip() != "saved":
        pass
    return child


def whole(folder):
    """Check every file; return the values found."""
    noise = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.uint8)
    found = []
    for ending in ENDINGS:
        labels = read_labels(folder / f"m{ending}").array
        value = int(labels.max())
        assert value in (1, 2), ending
        assert int((labels > 0).sum()) == int(noise.sum()), ending
        assert set(np.unique(labels).tolist()) == {0, value}, ending
        found.append(value)
    return found


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.slow
def test_killed_at_any_moment_leaves_old_or_new(tmp_path):
    """One process, killed at random, started anew; more rounds by the environment."""
    rounds = int(os.environ.get("MEDURWKV_KILLS", "5"))
    moments = random.Random(0)
    for _ in range(rounds):
        child = start(tmp_path)
        time.sleep(moments.uniform(0, 0.4))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        whole(tmp_path)


def mask_of(value, shape=SHAPE):
    noise = np.random.default_rng(value).integers(0, 2, shape).astype(np.uint8)
    geometry = Geometry.from_affine(np.eye(4), shape[::-1])
    return ExportMask(geometry.to_display(noise.T * np.uint8(value)), geometry)


def full_disk(folder, megabytes):
    """Mount a small disk; skipped where that is not allowed."""
    folder.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or mount is None or os.geteuid() != 0:
        pytest.skip("only an administrator of Linux can mount a small disk")
    answer = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder],
        capture_output=True,
    )
    if answer.returncode:
        pytest.skip("this machine lets nobody mount a small disk")


@pytest.mark.parametrize("key", [*FORMATS, "stl", "glb"])
def test_a_full_disk_leaves_the_old_file(tmp_path, key):
    disk = tmp_path / "disk"
    full_disk(disk, 3)
    try:
        old = np.zeros(SHAPE, np.uint8)
        old[5:9, 5:9, 5:9] = 1
        geometry = Geometry.from_affine(np.eye(4), SHAPE[::-1])
        small = ExportMask(geometry.to_display(old.T), geometry)
        export_mask(small, [key], disk / "m")
        before = snapshot(disk)
        (disk / "filler").write_bytes(b"x" * (free_space(disk) - 20_000))
        with pytest.raises(OutputError, match="no space left"):
            export_mask(mask_of(1), [key], disk / "m", overwrite=True)
        (disk / "filler").unlink()
        assert snapshot(disk) == before
    finally:
        subprocess.run(["umount", disk], check=True)


def free_space(disk):
    return shutil.disk_usage(disk).free


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_no_space_for_a_folder_without_a_small_disk(tmp_path, monkeypatch):
    """The same where no disk can be mounted: the writer runs out of space half-way."""
    import errno

    import zarr

    export_mask(mask_of(1), ["ome-zarr", "nifti"], tmp_path / "m")
    before = snapshot(tmp_path)
    real = zarr.Group.create_array

    def full(self, name, **options):
        if name != "0":
            raise OSError(errno.ENOSPC, "full")
        return real(self, name, **options)

    monkeypatch.setattr(zarr.Group, "create_array", full)
    big = mask_of(2, (8, 300, 300))
    with pytest.raises(OutputError, match="no space left"):
        export_mask(big, ["nifti", "ome-zarr"], tmp_path / "m", overwrite=True)
    assert snapshot(tmp_path) == before
