"""Images open upright, in millimetres, and with their geometry."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from napari_medurwkv.errors import ImageError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.widgets.reader import get_reader, read_layers


def save(path, values, affine=None):
    affine = np.diag([-1.0, 2, 3, 1]) if affine is None else affine
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return str(path)


def test_takes_nifti_and_nothing_else(tmp_path):
    assert get_reader("a.nii") is read_layers
    assert get_reader(["a.NII.GZ", "b.nii"]) is read_layers
    assert get_reader("a.png") is None
    assert get_reader(["a.nii", "b.png"]) is None


def test_volume(tmp_path):
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    ((data, options, kind),) = read_layers(save(tmp_path / "a.nii.gz", values))
    assert kind == "image"
    # Left of the patient is right on the screen, as radiologists hang it.
    np.testing.assert_array_equal(data, values.transpose(2, 1, 0)[:, ::-1, :])
    assert options["scale"] == (3, 2, 1)
    assert list(options["units"]) == ["mm"] * 3
    assert options["name"] == "a"
    geometry = Geometry.from_json(options["metadata"]["medurwkv"]["geometry"])
    assert geometry.orientation == "LAS"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("slope", [None, 0.5])
def test_series_has_its_frames_first(tmp_path, name, slope):
    values = np.arange(4 * 5 * 6 * 3, dtype=np.int16).reshape(4, 5, 6, 3)
    path = tmp_path / name
    image = nib.Nifti1Image(values, np.diag([-1.0, 2, 3, 1]))
    if slope:
        image.header.set_slope_inter(slope, 1)
    nib.save(image, path)
    ((data, options, _),) = read_layers(str(path))
    from napari_medurwkv.io import read_image

    for index in range(3):
        expected = read_image(path, frame=index).array
        np.testing.assert_allclose(data[index], expected, rtol=1e-6)
    assert data.dtype == (np.float32 if slope else np.int16)
    assert options["scale"] == (1, 3, 2, 1)
    assert len(options["units"]) == len(options["axis_labels"]) == 4
    source = Geometry.from_json(options["metadata"]["medurwkv"]["geometry"]).source
    assert source.frame is None


def test_series_of_slices(tmp_path):
    values = np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 1, 3)
    ((data, options, _),) = read_layers(save(tmp_path / "a.nii", values))
    assert data.shape == (3, 5, 4)
    assert len(options["scale"]) == 3


def test_unreadable_file(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("hello")
    with pytest.raises(ImageError):
        read_layers(str(path))


def test_colour_picture(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ((data, options, _),) = read_layers(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(data, pixels)
    assert options["rgb"]
    assert len(options["scale"]) == 2
