"""NIfTI in and out: the mask's grid is the image's, to the bit."""

from __future__ import annotations

import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medurwkv.errors import GeometryError, ImageError, OutputError
from napari_medurwkv.geometry import Geometry, resample_labels
from napari_medurwkv.io import (
    frame_count,
    image_from_array,
    read_image,
    read_labels,
    write_labels,
)
from napari_medurwkv.io.nifti import GEOMETRY_FIELDS

CODES = [
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*axes)
]


def pseudo_mask(shown):
    """Labels that depend on the image alone, different in every corner."""
    bright = (shown > np.median(shown)).astype(np.uint8)
    corner = tuple(slice(0, max(1, n // 3)) for n in shown.shape)
    bright[corner] = 3
    return bright


def header_bytes(path, name):
    header = nib.load(path).header
    return header[name].tobytes()


def assert_same_grid(image_path, mask_path):
    image, mask = nib.load(image_path), nib.load(mask_path)
    assert image.shape[:3] == mask.shape[:3]
    np.testing.assert_array_equal(image.affine, mask.affine)
    for name in GEOMETRY_FIELDS:
        assert header_bytes(image_path, name) == header_bytes(mask_path, name), name


def assert_same_for_itk(image_path, mask_path):
    image, mask = sitk.ReadImage(image_path), sitk.ReadImage(mask_path)
    assert image.GetSize() == mask.GetSize()
    assert image.GetOrigin() == mask.GetOrigin()
    assert image.GetSpacing() == mask.GetSpacing()
    assert image.GetDirection() == mask.GetDirection()


@pytest.fixture
def files(shared_data):
    files = sorted((shared_data / "orientations").glob("*.nii.gz"))
    assert len(files) == 24
    return files


class TestRealScans:
    def test_every_orientation_is_shown_as_the_same_brain(self, files):
        first = read_image(files[0])
        for path in files[1:]:
            image = read_image(path)
            np.testing.assert_array_equal(image.array, first.array, err_msg=path.name)
            assert image.array.dtype == np.float32  # 8-bit, scaled
            np.testing.assert_allclose(
                image.geometry.display_affine,
                first.geometry.display_affine,
                atol=1e-4,
            )
            assert image.geometry.orientation == image.name == path.name[:3]
            assert not image.geometry.assumed
            assert image.notes == ()

    def test_a_mask_lies_on_its_image(self, files, shared_data, tmp_path):
        for path in [*files, shared_data / "volumes" / "t2_oblique.nii.gz"]:
            image = read_image(path)
            mask = pseudo_mask(image.array)
            out = write_labels(tmp_path / path.name, mask, image.geometry)
            assert_same_grid(path, out)
            assert_same_for_itk(path, out)
            stored = np.asarray(nib.load(out).dataobj)
            np.testing.assert_array_equal(stored, image.geometry.to_source(mask))
            # ITK's array is the file's with its axes reversed.
            np.testing.assert_array_equal(
                sitk.GetArrayFromImage(sitk.ReadImage(out)), stored.transpose()
            )
            again = read_labels(out)
            np.testing.assert_array_equal(again.array, mask)
            out.unlink()

    def test_a_mask_of_one_orientation_agrees_with_another_in_the_world(self, files):
        first = read_image(files[0])
        mask = pseudo_mask(first.array)
        for path in files[1:]:
            geometry = read_image(path).geometry
            brought = resample_labels(mask, first.geometry, geometry)
            np.testing.assert_array_equal(brought, mask, err_msg=path.name)

    def test_voxels_are_those_that_nibabel_reads(self, shared_data):
        for name in ("t2_oblique", "ct_abdomen_3mm", "ct_abdomen_3mm_organs"):
            path = shared_data / "volumes" / f"{name}.nii.gz"
            image = read_image(path)
            expected = nib.load(path)
            source = image.geometry.to_source(image.array)
            np.testing.assert_array_equal(source, np.asarray(expected.dataobj))
            assert source.dtype == expected.get_data_dtype()
            np.testing.assert_array_equal(image.geometry.affine, expected.affine)


@pytest.mark.parametrize("code", CODES)
def test_all_48_orientations_go_there_and_back(code, save_nifti, tmp_path):
    signs = {letter: 1 if letter in "RAS" else -1 for letter in "RLAPSI"}
    world = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(code):
        affine[world[letter], axis] = signs[letter] * (1.25, 0.5, 3.0)[axis]
    affine[:3, 3] = (-7.5, 11.25, 100)
    array = np.random.default_rng(0).integers(0, 2000, (4, 5, 6)).astype(np.int16)
    path = save_nifti(array, affine)
    image = read_image(path)
    assert image.geometry.orientation == code
    out = write_labels(
        tmp_path / "mask.nii.gz", pseudo_mask(image.array), image.geometry
    )
    assert_same_grid(path, out)
    assert_same_for_itk(path, out)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_any_header_survives(seed, codes, shape, kind, suffix, save_nifti, tmp_path):
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * generator.uniform(0.3, 6, 3)
    affine[:3, 3] = generator.uniform(-200, 200, 3)
    array = generator.integers(0, 99, shape).astype(np.uint8)
    path = save_nifti(array, affine, f"image{suffix}", codes=codes, kind=kind)
    image = read_image(path)
    assert image.geometry.assumed == (codes == (0, 0))
    mask = pseudo_mask(image.array)
    out = write_labels(tmp_path / f"m{suffix}", mask, image.geometry, overwrite=True)
    assert nib.load(out).shape == shape
    assert_same_grid(path, out)
    assert type(nib.load(out)) is kind
    np.testing.assert_array_equal(read_labels(out).array, mask)


@pytest.mark.parametrize(
    "shape", [(7, 5), (7, 5, 1), (1, 7, 5), (7, 1, 5), (7, 5, 1, 1)]
)
def test_planes_keep_their_number_of_axes(shape, save_nifti, tmp_path):
    array = np.arange(35, dtype=np.int16).reshape(shape)
    path = save_nifti(array)
    image = read_image(path)
    assert image.array.ndim == image.geometry.ndim == 2
    mask = pseudo_mask(image.array)
    out = write_labels(tmp_path / "mask.nii", mask, image.geometry)
    assert nib.load(out).shape == shape
    assert_same_grid(path, out)
    stored = np.asarray(nib.load(out).dataobj).reshape(7, 5)
    np.testing.assert_array_equal(stored, image.geometry.to_source(mask))


def test_the_slice_of_a_plane_counts_in_its_place_and_not_in_its_area(save_nifti):
    path = save_nifti(np.zeros((6, 1, 5), np.uint8) + 1)  # 2 x 3 x 4 mm
    geometry = read_image(path).geometry
    assert geometry.orientation == "LS"
    assert geometry.spacing == (2.0, 4.0)
    assert geometry.voxel_volume == 8.0


def test_one_frame_of_four_dimensions(save_nifti, tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (4, 5, 6, 3)).astype(np.int16)
    path = save_nifti(array, pixdim=[-1, 2, 3, 4, 2.5, 1, 1, 1])
    assert frame_count(path) == 3
    with pytest.raises(ImageError, match=r"has 3 frames.*0 to 2.*--frame"):
        read_image(path)
    with pytest.raises(ImageError, match=r"no frame 3.*0 to 2"):
        read_image(path, frame=3)
    with pytest.raises(ImageError, match="no frame -1"):
        read_image(path, frame=-1)
    for frame in range(3):
        image = read_image(path, frame=frame)
        source = image.geometry.to_source(image.array)
        np.testing.assert_array_equal(source, array[..., frame])
    assert image.geometry.source.frame == 2
    out = write_labels(
        tmp_path / "mask.nii.gz", pseudo_mask(image.array), image.geometry
    )
    assert nib.load(out).shape == (4, 5, 6)
    assert_same_grid(path, out)
    single = save_nifti(array[..., :1], name="single.nii.gz")
    assert frame_count(single) == 1
    image = read_image(single)
    out = write_labels(tmp_path / "m1.nii.gz", pseudo_mask(image.array), image.geometry)
    assert nib.load(out).shape == (4, 5, 6, 1)


def test_a_frame_of_a_3d_image_is_its_only_one(save_nifti):
    path = save_nifti(np.ones((4, 5, 6), np.uint8))
    assert frame_count(path) == 1
    assert read_image(path, frame=0).geometry.source.frame is None
    with pytest.raises(ImageError, match="no frame 1"):
        read_image(path, frame=1)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "<i2", ">i2", "u2", "i4", ">f4", "f4", "f8", "u4", "i8"]
)
def test_numbers_keep_their_type(dtype, tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    order = ">" if dtype.startswith(">") else "<"
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(dtype)
    path = tmp_path / "image.nii"
    nib.save(nib.Nifti1Image(array, np.eye(4), header), path)
    image = read_image(path)
    assert image.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert image.array.dtype.isnative
    np.testing.assert_array_equal(image.geometry.to_source(image.array), array)
    out = write_labels(tmp_path / "mask.nii", pseudo_mask(image.array), image.geometry)
    assert_same_grid(path, out)


def patch_header(path, **fields):
    """Set fields in an uncompressed file: nibabel's own writer would undo them."""
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]))
    for name, value in fields.items():
        header[name] = value
    data[:348] = header.binaryblock
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "result"),
    [
        ("u1", 0.5, -3, "f4"),
        ("i2", 1, -1024, "f4"),
        ("f4", 2, 0, "f4"),
        ("i4", 0.25, 1, "f8"),
        ("f8", 3, 1, "f8"),
        ("i2", 1, 0, "i2"),
        ("i2", 0, 5, "i2"),
        ("i2", np.nan, 5, "i2"),
    ],
)
def test_scaling_is_applied(dtype, slope, inter, result, save_nifti):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    path = save_nifti(array, name="image.nii")
    patch_header(path, scl_slope=slope, scl_inter=inter)
    image = read_image(path)
    assert image.array.dtype == result
    expected = nib.load(path).get_fdata()
    np.testing.assert_allclose(image.geometry.to_source(image.array), expected)
    # Labels on the same grid are stored as they are: no scaling is inherited.
    mask = (image.array > 3).astype(np.uint8) * 118
    out = write_labels(path.with_name("mask.nii"), mask, image.geometry)
    stored = nib.Nifti1Header(out.read_bytes()[:348])
    assert stored.get_slope_inter() == (1.0, 0.0)
    assert set(np.unique(nib.load(out).get_fdata())) <= {0.0, 118.0}


def test_colour(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype(np.uint8)
    packed = colour.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path = tmp_path / "colour.nii.gz"
    nib.save(nib.Nifti1Image(packed, np.diag([-1, 1, 1, 1])), path)
    image = read_image(path)
    assert image.rgb
    np.testing.assert_array_equal(image.geometry.to_source(image.array), colour)
    out = write_labels(
        tmp_path / "mask.nii.gz", pseudo_mask(image.array[..., 0]), image.geometry
    )
    assert nib.load(out).shape == (4, 5, 6)


def test_values_that_are_not_finite_count_as_zero_and_are_told(save_nifti):
    array = np.full((4, 5, 6), 7, np.float32)
    array[0, 0, :3] = (np.nan, np.inf, -np.inf)
    image = read_image(save_nifti(array))
    source = image.geometry.to_source(image.array)
    np.testing.assert_array_equal(source[0, 0], [0, 0, 0, 7, 7, 7])
    assert image.array.dtype == np.float32
    assert image.notes == ("3 values (2.5 %) were NaN or infinite and count as 0.",)


def test_a_constant_image_is_an_image(save_nifti):
    assert (read_image(save_nifti(np.zeros((3, 4, 5), np.int16))).array == 0).all()


def test_an_image_without_any_finite_value_is_refused(save_nifti):
    path = save_nifti(np.full((3, 4, 5), np.nan, np.float32))
    with pytest.raises(ImageError, match="no finite value"):
        read_image(path)


def test_forms_that_disagree_are_told_and_kept(save_nifti, tmp_path):
    path = save_nifti(np.ones((4, 5, 6), np.uint8), name="i.nii")
    patch_header(path, qoffset_x=10.0)
    image = read_image(path)
    assert any("disagree" in note for note in image.notes)
    np.testing.assert_array_equal(image.geometry.affine, nib.load(path).get_sform())
    out = write_labels(tmp_path / "m.nii", pseudo_mask(image.array), image.geometry)
    np.testing.assert_array_equal(nib.load(out).get_qform(), nib.load(path).get_qform())
    assert_same_grid(path, out)


def test_the_qform_counts_where_there_is_no_sform(save_nifti):
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    path = save_nifti(np.ones((4, 5, 6), np.uint8), affine, codes=(0, 1))
    image = read_image(path)
    assert image.geometry.qform_code == 1
    assert image.geometry.sform_code == 0
    np.testing.assert_allclose(image.geometry.affine, affine)
    assert not image.geometry.assumed


def test_without_codes_nibabels_guess_is_taken_and_called_one(save_nifti, tmp_path):
    path = save_nifti(np.arange(120).reshape(4, 5, 6).astype(np.uint8), codes=(0, 0))
    image = read_image(path)
    assert image.geometry.assumed
    assert any("no orientation" in note for note in image.notes)
    np.testing.assert_array_equal(image.geometry.affine, nib.load(path).affine)
    out = write_labels(tmp_path / "m.nii.gz", pseudo_mask(image.array), image.geometry)
    assert_same_grid(path, out)
    assert_same_for_itk(path, out)


def test_a_sheared_sform_survives(save_nifti, tmp_path):
    affine = np.array([[2, 0.4, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1.0]])
    path = save_nifti(np.ones((4, 5, 6), np.uint8), affine, codes=(1, None))
    image = read_image(path)
    assert image.geometry.voxel_volume == pytest.approx(24)
    out = write_labels(tmp_path / "m.nii.gz", pseudo_mask(image.array), image.geometry)
    assert_same_grid(path, out)


def test_micrometres_are_shown_in_millimetres_and_kept_in_the_file(
    save_nifti, tmp_path
):
    affine = np.diag([-200.0, 300.0, 400.0, 1.0])
    path = save_nifti(np.ones((4, 5, 6), np.uint8), affine, xyzt_units=3)
    image = read_image(path)
    assert image.geometry.spacing == pytest.approx((0.2, 0.3, 0.4))
    assert any("microns" in note for note in image.notes)
    out = write_labels(tmp_path / "m.nii.gz", pseudo_mask(image.array), image.geometry)
    assert_same_grid(path, out)


def test_nothing_that_names_a_patient_is_copied(tmp_path):
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.int16), np.diag([-1, 1, 1, 1]))
    header = image.header
    header["descrip"], header["aux_file"] = b"JANE DOE", b"jane.txt"
    header["db_name"], header["intent_name"] = b"DOE^JANE", b"jane"
    header["data_type"] = b"DOE"
    header["cal_max"], header["toffset"] = 80, 3
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"PATIENT JANE DOE"))
    path = tmp_path / "jane.nii"
    nib.save(image, path)
    read = read_image(path)
    out = write_labels(tmp_path / "mask.nii", pseudo_mask(read.array), read.geometry)
    content = out.read_bytes().lower()
    assert b"jane" not in content
    assert b"doe" not in content
    written = nib.load(out).header
    assert len(written.extensions) == 0
    assert written["cal_max"] == written["toffset"] == 0
    assert written.get_intent()[0] == "label"
    # gzip keeps a name and a time where it is not stopped.
    packed = write_labels(tmp_path / "m.nii.gz", pseudo_mask(read.array), read.geometry)
    assert packed.read_bytes()[3:8] == bytes(5)


@pytest.mark.parametrize(
    ("highest", "dtype"),
    [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")],
)
def test_labels_are_stored_in_the_smallest_type(highest, dtype, save_nifti, tmp_path):
    geometry = read_image(save_nifti(np.ones((3, 4, 5), np.int16))).geometry
    labels = np.zeros(geometry.display_shape, np.int64)
    labels[0, 0, 0] = highest
    out = write_labels(tmp_path / "m.nii.gz", labels, geometry)
    assert nib.load(out).get_data_dtype() == dtype
    np.testing.assert_array_equal(read_labels(out).array, labels)


def test_an_array_with_an_affine_gets_both_forms(tmp_path):
    affine = np.array(
        [[0, 0, -3, 10], [-1.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 0, 1.0]]
    )
    array = np.random.default_rng(0).normal(size=(4, 5, 6))
    image = image_from_array(array, affine=affine)
    mask = pseudo_mask(image.array)
    out = write_labels(tmp_path / "m.nii.gz", mask, image.geometry)
    written = nib.load(out)
    assert written.shape == array.shape
    np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_allclose(written.get_qform(), affine, atol=1e-5)
    assert int(written.header["sform_code"]) == int(written.header["qform_code"]) == 1
    itk = sitk.ReadImage(out)
    np.testing.assert_allclose(itk.GetOrigin(), (-10, -20, -30), atol=1e-5)
    np.testing.assert_array_equal(read_labels(out).array, mask)


def test_an_array_with_a_sheared_affine_gets_a_sform_only(tmp_path):
    affine = np.array([[2, 0.5, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1.0]])
    image = image_from_array(np.arange(60.0).reshape(3, 4, 5), affine=affine)
    out = write_labels(tmp_path / "m.nii.gz", pseudo_mask(image.array), image.geometry)
    assert int(nib.load(out).header["qform_code"]) == 0
    np.testing.assert_array_equal(nib.load(out).affine, affine)


def test_a_raster_image_as_nifti_looks_as_it_did(tmp_path):
    for shape in ((6, 7), (4, 6, 7)):
        array = np.random.default_rng(0).normal(size=shape)
        spacing = (2.0, 0.5, 0.25)[-len(shape) :]
        image = image_from_array(array, spacing=spacing)
        mask = pseudo_mask(image.array)
        out = write_labels(tmp_path / f"m{len(shape)}.nii.gz", mask, image.geometry)
        again = read_labels(out)
        np.testing.assert_array_equal(again.array, mask)
        assert again.geometry.display_spacing == spacing


def test_the_stored_affine_is_the_nearest_that_the_format_can_hold(tmp_path):
    affine = np.diag([1 / 3, 1 / 7, 1 / 11, 1.0])
    image = image_from_array(np.arange(60.0).reshape(3, 4, 5), affine=affine)
    out = write_labels(tmp_path / "m.nii.gz", pseudo_mask(image.array), image.geometry)
    np.testing.assert_array_equal(nib.load(out).affine, affine.astype(np.float32))


class TestRefusals:
    def test_a_text_file(self, tmp_path):
        path = tmp_path / "scan.nii.gz"
        path.write_text("Dear colleague, please find attached the scan.\n" * 20)
        with pytest.raises(
            ImageError, match=r"scan\.nii\.gz is not a NIfTI image: it is "
        ):
            read_image(path)
        path.write_text("short")
        with pytest.raises(ImageError, match="it is a text file"):
            read_image(path)
        path.write_bytes(gzip.compress(b"text in a parcel " * 50))
        with pytest.raises(ImageError, match="it is a text file"):
            frame_count(path)

    def test_a_file_without_content(self, tmp_path):
        path = tmp_path / "scan.nii"
        path.touch()
        with pytest.raises(ImageError, match="no content"):
            read_image(path)

    def test_dicom_and_noise(self, tmp_path):
        path = tmp_path / "scan.nii"
        path.write_bytes(bytes(128) + b"DICM" + bytes(600))
        with pytest.raises(ImageError, match="it is a DICOM file"):
            read_image(path)
        path.write_bytes(np.random.default_rng(0).bytes(1000))
        with pytest.raises(ImageError, match="does not begin with a NIfTI header"):
            read_image(path)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
    def test_truncated(self, suffix, kept, save_nifti):
        array = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
        path = save_nifti(array, name=f"image{suffix}")
        data = path.read_bytes()
        path.write_bytes(data[: int(kept * len(data))])
        with pytest.raises(ImageError, match="truncated"):
            read_image(path)

    def test_a_damaged_byte_is_found_by_the_checksum(self, save_nifti):
        array = np.random.default_rng(0).integers(0, 99, (20, 20, 20)).astype(np.uint8)
        path = save_nifti(array)
        data = bytearray(path.read_bytes())
        data[-6] ^= 1  # in the checksum: the same as one in the content
        path.write_bytes(data)
        with pytest.raises(ImageError, match="damaged"):
            read_image(path)

    def test_an_empty_image(self, tmp_path):
        path = tmp_path / "empty.nii"
        header = nib.Nifti1Header()
        header.set_data_shape((4, 0, 5))
        header["magic"], header["vox_offset"] = b"n+1", 352
        path.write_bytes(header.binaryblock + bytes(4))
        with pytest.raises(ImageError, match="is empty"):
            read_image(path)

    @pytest.mark.parametrize("compressed", [True, False])
    def test_a_header_that_promises_more_than_the_file_has(self, compressed, tmp_path):
        header = nib.Nifti1Header()
        header.set_data_dtype(np.float64)
        header.set_data_shape((32767, 32767, 32767))
        header["magic"], header["vox_offset"] = b"n+1", 352
        data = header.binaryblock + bytes(1000)
        path = tmp_path / "bomb.nii.gz"
        path.write_bytes(gzip.compress(data) if compressed else data)
        with pytest.raises(ImageError, match="promises"):
            read_image(path)

    def test_an_image_larger_than_memory(self, save_nifti, monkeypatch):
        path = save_nifti(np.zeros((50, 50, 50), np.uint8))
        monkeypatch.setattr("napari_medurwkv.io.limits.available_memory", lambda: 1000)
        with pytest.raises(ImageError, match=r"125 kB of memory.*1 kB are free"):
            read_image(path)

    def test_a_gzip_bomb_is_not_unpacked(self, save_nifti, monkeypatch):
        path = save_nifti(np.ones((4, 5, 6), np.uint8))
        content = gzip.decompress(path.read_bytes()) + bytes(10_000_000)
        path.write_bytes(gzip.compress(content, 1))
        sizes = []
        read = gzip.GzipFile.read

        def counted(self, size=-1):
            piece = read(self, size)
            sizes.append(len(piece))
            return piece

        monkeypatch.setattr(gzip.GzipFile, "read", counted)
        assert (read_image(path).array == 1).all()
        assert sum(sizes) < 10_000

    def test_several_values_per_voxel(self, save_nifti):
        with pytest.raises(ImageError, match="several values per voxel"):
            read_image(save_nifti(np.ones((3, 4, 5, 1, 3), np.float32)))

    def test_one_axis(self, save_nifti):
        with pytest.raises(ImageError, match="one axis"):
            read_image(save_nifti(np.ones(9, np.float32)))

    def test_complex_numbers(self, save_nifti):
        with pytest.raises(ImageError, match="real numbers"):
            read_image(save_nifti(np.ones((3, 4, 5), np.complex64)))

    def test_a_singular_affine(self, save_nifti):
        path = save_nifti(np.ones((3, 4, 5), np.uint8), name="i.nii")
        patch_header(path, srow_x=0)
        with pytest.raises(ImageError, match="sform is singular"):
            read_image(path)

    def test_half_a_pair(self, tmp_path):
        header = nib.nifti1.Nifti1PairHeader()
        header.set_data_shape((3, 4, 5))
        path = tmp_path / "half.nii"
        path.write_bytes(header.binaryblock + bytes(200))
        with pytest.raises(ImageError, match=r"\.hdr/\.img pair"):
            read_image(path)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("datatype", 999), ("vox_offset", 20.0), ("dim", [3, -4] * 4)],
    )
    def test_a_damaged_header(self, field, value, save_nifti):
        path = save_nifti(np.ones((3, 4, 5), np.uint8), name="i.nii")
        patch_header(path, **{field: value})
        with pytest.raises(ImageError):
            read_image(path)

    def test_a_slope_without_a_sound_intercept(self, save_nifti):
        path = save_nifti(np.ones((3, 4, 5), np.uint8), name="i.nii")
        patch_header(path, scl_slope=1, scl_inter=np.inf)
        with pytest.raises(ImageError, match="damaged NIfTI header"):
            read_image(path)

    def test_labels_of_another_shape(self, save_nifti, tmp_path):
        geometry = read_image(save_nifti(np.ones((3, 4, 5), np.uint8))).geometry
        with pytest.raises(GeometryError, match="do not belong together"):
            write_labels(tmp_path / "m.nii", np.zeros((3, 4, 5), np.uint8), geometry)

    def test_a_lost_header(self, save_nifti, tmp_path):
        geometry = read_image(save_nifti(np.ones((3, 4, 5), np.uint8))).geometry
        data = geometry.to_json()
        data["source"]["header"] = None
        labels = np.zeros(geometry.display_shape, np.uint8)
        with pytest.raises(OutputError, match="header is lost"):
            write_labels(tmp_path / "m.nii", labels, Geometry.from_json(data))


def test_content_decides_over_the_name(save_nifti):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    packed = save_nifti(array)
    plain = packed.with_name("plain.nii.gz")
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    np.testing.assert_array_equal(read_image(plain).array, read_image(packed).array)
    nameless = packed.with_name("nameless")
    nameless.write_bytes(plain.read_bytes())
    np.testing.assert_array_equal(read_image(nameless).array, read_image(packed).array)
    assert read_image(plain).name == "plain"
