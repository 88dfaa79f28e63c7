"""The classic bugs of medical image files, one test each; none may come back."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nibabel.orientations import io_orientation

from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import frame_count, read_image, read_labels, write_labels

_spec = importlib.util.spec_from_file_location(
    "dicoms", Path(__file__).with_name("dicoms.py")
)
dicoms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dicoms)

LABELS = (0, 3, 7, 118)


def some_labels(shape, dtype=np.uint8):
    return np.random.default_rng(0).choice(LABELS, shape).astype(dtype)


def world(image, index):
    """Place of a SimpleITK image's voxel."""
    return np.array(image.TransformContinuousIndexToPhysicalPoint([*map(float, index)]))


def test_1_labels_through_a_scaled_header(tmp_path):
    # Stored through the image's slope, labels 3 and 7 would come back as 2.8 and 6.9.
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4))
    image.header.set_slope_inter(0.4627, 0)
    nib.save(image, tmp_path / "scan.nii.gz")
    scan = read_image(tmp_path / "scan.nii.gz")
    labels = some_labels(scan.array.shape)
    path = write_labels(tmp_path / "mask.nii.gz", labels, scan.geometry)
    written = nib.load(path)
    assert set(np.unique(written.get_fdata())) == set(LABELS)
    assert written.dataobj.slope == 1


@pytest.mark.parametrize("dtype", [np.int64, bool])
def test_2_types_that_nibabel_refuses(tmp_path, save_nifti, dtype):
    scan = read_image(save_nifti(np.ones((4, 5, 6), np.int16)))
    labels = some_labels(scan.array.shape, dtype)
    path = write_labels(tmp_path / "mask.nii.gz", labels, scan.geometry)
    np.testing.assert_array_equal(read_labels(path).array, labels)
    assert nib.load(path).get_data_dtype() == np.uint8


@pytest.mark.parametrize("sform_code", [1, 2, 4])
def test_3_forms_that_disagree(tmp_path, sform_code):
    # nibabel takes the sform, ITK the qform for some codes: the mask has to lie on its
    # image in both.
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4))
    away = np.eye(4)
    away[:3, 3] = 10
    image.set_sform(away, sform_code)
    image.set_qform(np.eye(4), 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    scan = read_image(tmp_path / "scan.nii.gz")
    assert any("disagree" in note for note in scan.notes)
    path = write_labels(
        tmp_path / "mask.nii.gz", some_labels(scan.array.shape), scan.geometry
    )
    for name in ("sform", "qform"):
        matrix, code = getattr(nib.load(path).header, f"get_{name}")(coded=True)
        expected = getattr(image.header, f"get_{name}")(coded=True)
        assert code == expected[1]
        np.testing.assert_array_equal(matrix, expected[0])
    theirs = [sitk.ReadImage(str(tmp_path / n)) for n in ("scan.nii.gz", "mask.nii.gz")]
    np.testing.assert_array_equal(
        world(theirs[0], (1, 2, 3)), world(theirs[1], (1, 2, 3))
    )


def test_4_no_codes_at_all(tmp_path):
    # Readers guess differently, so nothing may be written that was not stated.
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), None)
    image.header.set_zooms((1, 2, 3))
    image.header["qform_code"] = image.header["sform_code"] = 0
    nib.save(image, tmp_path / "scan.nii")
    scan = read_image(tmp_path / "scan.nii")
    assert scan.geometry.assumed
    path = write_labels(
        tmp_path / "mask.nii", some_labels(scan.array.shape), scan.geometry
    )
    header = nib.load(path).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
    theirs = [sitk.ReadImage(str(tmp_path / n)) for n in ("scan.nii", "mask.nii")]
    np.testing.assert_array_equal(
        world(theirs[0], (1, 2, 3)), world(theirs[1], (1, 2, 3))
    )


def test_5_shear(tmp_path):
    affine = np.array([[1, 0.4, 0, 5], [0, 2, 0.3, 6], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), affine)
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "scan.nii")
    scan = read_image(tmp_path / "scan.nii")
    np.testing.assert_allclose(scan.geometry.affine, affine, atol=1e-6)
    assert scan.geometry.voxel_volume == pytest.approx(6)  # not the product of lengths
    path = write_labels(
        tmp_path / "mask.nii", some_labels(scan.array.shape), scan.geometry
    )
    np.testing.assert_allclose(nib.load(path).affine, affine, atol=1e-6)


def test_6_rows_of_dicom_and_nifti_run_against_each_other(tmp_path):
    # The same body as a series and as a RAS volume: equal in display order and in the
    # world, not by index.
    values = dicoms.numbers()
    series = read_image(dicoms.write_series(tmp_path / "ct"))
    flipped = values.T[::-1, ::-1]  # index (x, y, z) growing to R and A
    affine = np.diag([0.75, 0.5, 2.0, 1.0])
    affine[:3, 3] = 10 - 0.75 * 5, 20 - 0.5 * 4, 30
    nib.save(nib.Nifti1Image(np.ascontiguousarray(flipped), affine), tmp_path / "a.nii")
    volume = read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, series.array)
    np.testing.assert_allclose(
        volume.geometry.display_affine, series.geometry.display_affine, atol=1e-5
    )
    by_index = [image.geometry.to_source(image.array) for image in (volume, series)]
    assert not np.array_equal(*by_index)
    # A mask drawn on one, written on the other's grid.
    labels = some_labels(series.array.shape)
    path = write_labels(tmp_path / "mask.nii.gz", labels, volume.geometry)
    np.testing.assert_array_equal(read_labels(path).array, labels)


@pytest.mark.parametrize("suffix", [".nii.gz", ".tif"])
def test_7_spacing_goes_with_its_axis(tmp_path, suffix):
    series = read_image(dicoms.write_series(tmp_path / "ct"))
    assert series.geometry.display_spacing == pytest.approx((2.0, 0.5, 0.75))
    path = write_labels(
        tmp_path / f"mask{suffix}", some_labels(series.array.shape), series.geometry
    )
    found = read_labels(path).geometry
    scale = found.mm_per_unit / series.geometry.mm_per_unit
    spacing = np.multiply(found.display_spacing, scale)
    np.testing.assert_allclose(spacing, series.geometry.display_spacing, rtol=1e-6)


def test_8_no_drift_of_the_voxel_size(tmp_path):
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.diag([2.5, 2.5, 2.5, 1]))
    image.header["pixdim"][1:4] = 2.499999
    nib.save(image, tmp_path / "scan.nii")
    before = nib.load(tmp_path / "scan.nii").header
    path = tmp_path / "scan.nii"
    for turn in range(5):
        scan = read_image(path)
        path = write_labels(
            tmp_path / f"mask{turn}.nii", some_labels(scan.array.shape), scan.geometry
        )
    after = nib.load(path).header
    for field in ("pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        assert after[field].tobytes() == before[field].tobytes()


def test_9_label_tiff_keeps_the_scale(tmp_path):
    tifffile.imwrite(
        tmp_path / "scan.tif",
        np.ones((6, 7), np.uint8),
        imagej=True,
        resolution=(1 / 0.65, 1 / 0.65),
        metadata={"unit": "um"},
    )
    scan = read_image(tmp_path / "scan.tif")
    path = write_labels(tmp_path / "mask.tif", some_labels((6, 7)), scan.geometry)
    assert read_labels(path).geometry.display_spacing == pytest.approx((0.65, 0.65))
    assert read_labels(path).geometry.unit == "um"


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 6), (4, 5, 6, 1)])
def test_10_trailing_axes_come_back(tmp_path, save_nifti, shape):
    scan = read_image(save_nifti(np.ones(shape, np.int16)))
    path = write_labels(
        tmp_path / "mask.nii.gz", some_labels(scan.array.shape), scan.geometry
    )
    assert nib.load(path).shape == shape


def test_10_time_comes_last_in_the_file_and_first_on_the_screen(tmp_path, save_nifti):
    values = np.arange(4 * 5 * 6 * 3, dtype=np.int16).reshape(4, 5, 6, 3)
    path = save_nifti(values)
    assert frame_count(path) == 3
    scan = read_image(path, frame=2)
    np.testing.assert_array_equal(scan.geometry.to_source(scan.array), values[..., 2])
    mask = write_labels(
        tmp_path / "mask.nii.gz", some_labels(scan.array.shape), scan.geometry
    )
    assert nib.load(mask).shape == (4, 5, 6)


def test_11_left_handed_axes_agree_in_the_world(tmp_path, save_nifti):
    # Programs flip an axis of such files when they load them.
    scan = read_image(
        save_nifti(np.ones((4, 5, 6), np.int16), np.diag([-2.0, 3, 4, 1]))
    )
    assert np.linalg.det(scan.geometry.affine[:3, :3]) < 0
    labels = some_labels(scan.array.shape)
    path = write_labels(tmp_path / "mask.nii.gz", labels, scan.geometry)
    theirs = sitk.ReadImage(str(path))
    for index in ((0, 0, 0), (3, 0, 5), (1, 4, 2)):
        ours = scan.geometry.lps_affine @ (*index, 1)
        np.testing.assert_allclose(world(theirs, index), ours[:3], atol=1e-6)
        shown = np.linalg.inv(scan.geometry.display_affine) @ (
            scan.geometry.affine @ (*index, 1)
        )
        voxel = tuple(np.round(shown[:3]).astype(int))
        assert theirs[index] == labels[voxel]


def test_12_obliques_near_45_degrees_are_snapped_once(tmp_path, save_nifti):
    # nibabel's choice may change when its result is reoriented and asked again.
    generator = np.random.default_rng(0)
    for _ in range(50):
        affine = np.eye(4)
        angle = np.radians(45 + generator.uniform(-0.01, 0.01))
        c, s = np.cos(angle), np.sin(angle)
        tilt = np.radians(generator.uniform(40, 50))
        about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        about_x = np.array(
            [
                [1, 0, 0],
                [0, np.cos(tilt), -np.sin(tilt)],
                [0, np.sin(tilt), np.cos(tilt)],
            ]
        )
        affine[:3, :3] = about_z @ about_x * generator.uniform(0.5, 3, 3)
        geometry = Geometry.from_affine(affine, (4, 5, 6))
        values = np.arange(120).reshape(4, 5, 6)
        shown = geometry.to_display(values)
        np.testing.assert_array_equal(geometry.to_source(shown), values)
        again = Geometry.from_affine(geometry.display_affine, shown.shape)
        assert again.ornt == ((0, 1), (1, 1), (2, 1))  # nothing is left to turn
        assert io_orientation(affine).shape == (3, 2)
