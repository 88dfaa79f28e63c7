"""Which reader, and the sentences for what is no image."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io import (
    file_sha256,
    frame_count,
    label_suffixes,
    read_image,
    read_labels,
    supported_suffixes,
)


@pytest.mark.parametrize("read", [read_image, read_labels, frame_count])
def test_what_is_not_there(read, tmp_path):
    with pytest.raises(ImageError, match=r"scan\.nii\.gz does not exist\."):
        read(str(tmp_path / "scan.nii.gz"))
    with pytest.raises(ImageError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".nrrd", ".dcm", ""])
def test_text_is_no_image(suffix, tmp_path):
    path = tmp_path / f"letter{suffix}"
    path.write_text("Dear colleague,")
    with pytest.raises(ImageError, match=r"of another kind|cannot be read"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="no content"):
        read_image(path)


def test_content_decides_over_the_name(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for name, kind in (("a.jpg", "PNG"), ("b.nii.gz", "PNG"), ("c.png", "TIFF")):
        Pillow.fromarray(array).save(tmp_path / name, format=kind)
        np.testing.assert_array_equal(read_image(tmp_path / name).array, array)


def test_suffixes():
    assert set(label_suffixes()) <= set(supported_suffixes())
    assert ".nii.gz" in supported_suffixes()
    assert all(s == s.lower() and s.startswith(".") for s in supported_suffixes())


def test_upper_case_names(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Pillow.fromarray(array).save(tmp_path / "SCAN.TIF")
    assert read_image(tmp_path / "SCAN.TIF").name == "SCAN"


def test_a_frame_of_a_picture(tmp_path):
    path = tmp_path / "a.png"
    Pillow.fromarray(np.zeros((3, 4), np.uint8)).save(path)
    assert read_image(path, frame=0).array.shape == (3, 4)
    with pytest.raises(ImageError, match="one frame only"):
        read_image(path, frame=1)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"x")

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read_image(path)


def test_memory_that_ends_while_reading(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Pillow.fromarray(np.zeros((3, 4), np.uint8)).save(path)

    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("napari_medurwkv.io.read.read_raster", full)
    with pytest.raises(ImageError, match="does not fit into memory"):
        read_image(path)


def test_masks_hold_whole_numbers(save_nifti):
    whole = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    mask = read_labels(save_nifti(whole))
    assert mask.array.dtype.kind == "i"
    np.testing.assert_array_equal(mask.geometry.to_source(mask.array), whole)
    with pytest.raises(ImageError, match="not a mask: it holds fractions"):
        read_labels(save_nifti(whole + 0.5))


def test_digest(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    assert file_sha256(path).startswith("ba7816bf8f01cfea")


def test_memory_and_sizes_in_words():
    from napari_medurwkv.io.limits import available_memory, size_text

    assert available_memory() > 1e6
    assert size_text(999) == "999 bytes"
    assert size_text(1_500_000) == "1.5 MB"
    assert size_text(3 * 10**15) == "3e+03 TB"


def test_reading_needs_no_window():
    import subprocess
    import sys

    code = (
        "import sys, napari_medurwkv.io, napari_medurwkv.geometry;"
        "print([m for m in ('torch', 'napari', 'qtpy', 'nibabel', 'tifffile') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_importing_the_readers_imports_no_library_of_a_format():
    code = (
        "import sys, napari_medurwkv.io, napari_medurwkv.io.dicom; "
        "heavy = {'pydicom', 'highdicom', 'nrrd', 'zarr', 'nibabel', 'tifffile', 'PIL',"
        " 'SimpleITK', 'gdcm'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
