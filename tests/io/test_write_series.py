"""Masks of all frames come back from one file, on the grid of the image."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import frame_count, read_image, read_labels, write_all_safely
from napari_medurwkv.io.write_series import series_output


@pytest.fixture
def film(tmp_path):
    """A 4D file in an order that is not the display's."""
    values = np.random.default_rng(0).integers(0, 99, (5, 6, 7, 3)).astype(np.int16)
    affine = np.array([[0, 0, 2.0, 5], [-1, 0, 0, 6], [0, -3, 0, 7], [0, 0, 0, 1]])
    path = tmp_path / "film.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def test_nifti_lies_where_the_image_lies(film, tmp_path):
    frames = [read_image(film, frame=k) for k in range(3)]
    masks = [(image.array > 50).astype(np.uint8) for image in frames]
    target = tmp_path / "mask.nii.gz"
    write_all_safely([series_output(target, masks, frames[0].geometry)])
    original, written = nib.load(film), nib.load(target)
    np.testing.assert_array_equal(written.affine, original.affine)
    np.testing.assert_array_equal(
        np.asarray(written.dataobj), np.asarray(original.dataobj) > 50
    )
    for k, mask in enumerate(masks):
        np.testing.assert_array_equal(read_labels(target, frame=k).array, mask)


@pytest.mark.parametrize("shape", [(8, 9), (4, 8, 9)])
def test_tiff_has_an_axis_of_time(shape, tmp_path):
    geometry = Geometry.plain(shape, (0.5,) * len(shape), "um")
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 3, shape).astype(np.uint8) for _ in range(3)]
    target = tmp_path / "mask.tif"
    write_all_safely([series_output(target, masks, geometry)])
    assert frame_count(target) == 3
    for k, mask in enumerate(masks):
        back = read_labels(target, frame=k)
        np.testing.assert_array_equal(back.array, mask)
        assert back.geometry.display_spacing == geometry.display_spacing


def test_one_frame_is_one_mask(tmp_path):
    geometry = Geometry.plain((8, 9))
    mask = np.eye(8, 9, dtype=np.uint8)
    target = tmp_path / "mask.tif"
    write_all_safely([series_output(target, [mask], geometry)])
    np.testing.assert_array_equal(read_labels(target).array, mask)


def test_what_cannot_be_written_gets_a_sentence(tmp_path):
    geometry = Geometry.plain((8, 9))
    with pytest.raises(OutputError, match=r"one of the endings \.nii"):
        series_output(tmp_path / "mask.png", [np.zeros((8, 9), int)], geometry)
    with pytest.raises(GeometryError, match="different shapes"):
        series_output(tmp_path / "mask.tif", [np.zeros((8, 8), int)], geometry)
