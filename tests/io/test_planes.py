"""2D images of volume formats, and single slices: masks lie as SimpleITK puts them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_medurwkv.errors import ImageError
from napari_medurwkv.export import export_mask
from napari_medurwkv.export.mask import ExportMask
from napari_medurwkv.io import frame_count, read_image, read_labels, write_labels

_spec = importlib.util.spec_from_file_location(
    "volumes", Path(__file__).with_name("volumes.py")
)
volumes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(volumes)

FORMATS = (".nrrd", ".nhdr", ".mha", ".mhd")
ORIGIN, SPACING = (-12.5, 30.25), (0.5, 0.25)
# A turn, its mirror image, quarter turns, and what a turned-over scanner makes.
DIRECTIONS = {
    "plain": np.eye(2),
    "turned": np.array([[0.8, -0.6], [0.6, 0.8]]),
    "turned far": np.array([[-0.28, -0.96], [0.96, -0.28]]),
    "mirrored": np.array([[0.8, 0.6], [0.6, -0.8]]),
    "swapped": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "upside down": np.diag([-1.0, -1.0]),
}


def plane(direction, shape=(5, 6)):
    """A 2D image of SimpleITK with numbers that tell every pixel."""
    image = sitk.GetImageFromArray(
        np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    )
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(direction.ravel())
    return image


def write_mask(folder, image, suffix):
    """Write each pixel's number as its label, through the export of that ending."""
    labels = image.array.astype(np.uint16)
    if suffix == ".nii.gz":
        return write_labels(folder / "mask.nii.gz", labels, image.geometry)
    mask = ExportMask(labels, image.geometry)
    export_mask(mask, ["seg-nrrd"], folder / "mask")
    return folder / "mask.seg.nrrd"


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_plane_lies_where_simpleitk_puts_it(tmp_path, suffix, name):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(plane(DIRECTIONS[name]), str(path))
    image = read_image(path)
    geometry = image.geometry
    assert geometry.kind == "patient"
    theirs = sitk.ReadImage(str(path))
    expected = np.eye(4)
    expected[:2, :2] = np.array(theirs.GetDirection()).reshape(2, 2) * SPACING
    expected[:2, 3] = theirs.GetOrigin()
    np.testing.assert_allclose(geometry.lps_affine, expected, rtol=0, atol=1e-12)
    assert geometry.spacing == pytest.approx(SPACING)
    source = geometry.to_source(image.array)
    np.testing.assert_array_equal(source, sitk.GetArrayFromImage(theirs).T)
    # Shown as radiologists hang it: rows to the back, columns to the left.
    assert geometry.display_orientation == "PL"


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd"])
def test_its_mask_has_the_same_grid(tmp_path, suffix, name, ending):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(plane(DIRECTIONS[name]), str(path))
    mask = write_mask(tmp_path, read_image(path), ending)
    back, theirs = sitk.ReadImage(str(mask)), sitk.ReadImage(str(path))
    assert back.GetSize() == (*theirs.GetSize(), 1)
    np.testing.assert_allclose(back.GetOrigin(), (*ORIGIN, 0), atol=1e-5)
    np.testing.assert_allclose(back.GetSpacing(), (*SPACING, 1), atol=1e-6)
    direction = np.array(back.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction[:2, :2], DIRECTIONS[name], atol=1e-6)
    values = sitk.GetArrayFromImage(back)[0]
    np.testing.assert_array_equal(values, sitk.GetArrayFromImage(theirs))
    again = read_labels(mask)
    np.testing.assert_array_equal(again.array, read_image(path).array)


def test_metaimage_states_its_directions_nrrd_does_not(tmp_path):
    # NRRD has words for spaces of three axes only; ITK writes a plane without one.
    sitk.WriteImage(plane(DIRECTIONS["turned"]), str(tmp_path / "a.mha"))
    sitk.WriteImage(plane(DIRECTIONS["turned"]), str(tmp_path / "a.nrrd"))
    known = read_image(tmp_path / "a.mha")
    assert not known.geometry.assumed
    assert known.geometry.describe().endswith("known")
    assumed = read_image(tmp_path / "a.nrrd")
    assert assumed.geometry.assumed
    assert "LPS is assumed" in assumed.notes[0]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_colour_plane_lies_there_too(tmp_path, suffix):
    values = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    picture = sitk.GetImageFromArray(values, isVector=True)
    picture.SetOrigin(ORIGIN)
    picture.SetDirection(DIRECTIONS["upside down"].ravel())
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(picture, str(path))
    image = read_image(path)
    assert image.rgb
    np.testing.assert_array_equal(image.array, values[::-1, ::-1])
    np.testing.assert_allclose(image.geometry.lps_affine[:2, 3], ORIGIN)


HEADER = """NRRD0005
type: short
dimension: 2
sizes: 6 4
encoding: raw
endian: little
"""
NUMBERS = np.arange(24, dtype="<i2")


def write_nrrd(path, extra, header=HEADER):
    path.write_bytes((header + extra + "\n").encode() + NUMBERS.tobytes())
    return path


@pytest.mark.parametrize(
    ("space", "signs"),
    [("LPS", (-1, -1)), ("RAS", (1, 1)), ("left-anterior-superior", (-1, 1))],
)
def test_two_coordinates_in_a_space_of_three(tmp_path, space, signs):
    path = write_nrrd(
        tmp_path / "a.nrrd",
        f"space: {space}\nspace directions: (2,0) (0,3)\nspace origin: (5,6)\n",
    )
    image = read_image(path)
    assert image.geometry.assumed
    assert any("0 is assumed for the third" in note for note in image.notes)
    expected = np.diag([2.0 * signs[0], 3.0 * signs[1], 1, 1])
    expected[:2, 3] = np.multiply(signs, (5, 6))
    np.testing.assert_array_equal(image.geometry.affine, expected)


@pytest.mark.parametrize(("space", "signs"), [("LPS", (-1, -1, 1)), ("RAS", (1, 1, 1))])
def test_a_plane_anywhere_in_the_body(tmp_path, space, signs):
    path = write_nrrd(
        tmp_path / "a.nrrd",
        f"space: {space}\nspace directions: (2,0,0) (0,1.8,2.4)\n"
        "space origin: (5,6,7)\n",
    )
    image = read_image(path)
    assert not image.geometry.assumed
    steps = image.geometry.affine[:3, [0, 1, 3]] * np.array(signs)[:, None]
    np.testing.assert_allclose(steps.T, [(2, 0, 0), (0, 1.8, 2.4), (5, 6, 7)])
    back = sitk.ReadImage(str(write_mask(tmp_path, image, ".nii.gz")))
    lps = np.multiply(signs, (-1, -1, 1))
    np.testing.assert_allclose(back.GetOrigin(), lps * (5, 6, 7), atol=1e-5)
    for index in ((5, 0, 0), (0, 3, 0), (4, 2, 0)):
        place = (5 + 2 * index[0], 6 + 1.8 * index[1], 7 + 2.4 * index[1])
        found = back.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(found, lps * place, atol=1e-5)


def test_micrometres_move_the_origin_as_well(tmp_path):
    path = write_nrrd(
        tmp_path / "a.nrrd",
        "space dimension: 2\nspace directions: (2,0) (0,3)\nspace origin: (5,6)\n"
        'space units: "um" "um"\n',
    )
    geometry = read_image(path).geometry
    assert geometry.spacing == pytest.approx((2e-3, 3e-3))
    np.testing.assert_allclose(geometry.lps_affine[:3, 3], (5e-3, 6e-3, 0))


@pytest.mark.parametrize("extra", ["", "space origin: (nan,1)\n"])
def test_a_missing_origin_is_said(tmp_path, extra):
    image = read_image(
        write_nrrd(
            tmp_path / "a.nrrd",
            f"space dimension: 2\nspace directions: (2,0) (0,3)\n{extra}",
        )
    )
    assert "states no origin" in " ".join(image.notes)
    np.testing.assert_array_equal(image.geometry.affine[:3, 3], 0)


def test_directions_that_span_nothing(tmp_path):
    path = write_nrrd(
        tmp_path / "a.nrrd", "space dimension: 2\nspace directions: (1,0) (2,0)\n"
    )
    with pytest.raises(ImageError, match="where its voxels are"):
        read_image(path)


def test_sizes_alone_are_no_place(tmp_path):
    image = read_image(write_nrrd(tmp_path / "a.nrrd", "spacings: 2 3\n"))
    assert image.geometry.kind == "pixel-size-only"
    assert image.geometry.display_spacing == (3, 2)


META = """ObjectType = Image
NDims = 2
DimSize = 6 4
ElementType = MET_SHORT
{}ElementDataFile = LOCAL
"""


def write_mha(path, extra):
    path.write_bytes(META.format(extra).encode() + NUMBERS.tobytes())
    return path


def test_metaimage_with_an_offset_only(tmp_path):
    image = read_image(write_mha(tmp_path / "a.mha", "Offset = 5 6\n"))
    assert image.geometry.assumed
    np.testing.assert_array_equal(image.geometry.lps_affine[:3, 3], (5, 6, 0))
    theirs = sitk.ReadImage(str(tmp_path / "a.mha"))
    assert theirs.GetOrigin() == (5, 6)
    assert theirs.GetDirection() == (1, 0, 0, 1)


def test_metaimage_in_centimetres(tmp_path):
    extra = (
        "DistanceUnits = cm\nElementSpacing = 0.2 0.3\nOffset = 5 6\n"
        "TransformMatrix = 0 1 1 0\n"
    )
    geometry = read_image(write_mha(tmp_path / "a.mha", extra)).geometry
    assert geometry.spacing == pytest.approx((2, 3))
    np.testing.assert_allclose(
        geometry.lps_affine[:2, [0, 1, 3]], [[0, 3, 50], [2, 0, 60]]
    )


@pytest.mark.parametrize(
    "extra", ["TransformMatrix = 1 0 0\n", "Offset = 1 2 3\n", "Offset = 1 nan\n"]
)
def test_metaimage_with_the_wrong_count_of_numbers(tmp_path, extra):
    with pytest.raises(ImageError, match="numbers were expected"):
        read_image(write_mha(tmp_path / "a.mha", extra))


def test_frames_of_a_plane(tmp_path):
    header = HEADER.replace("dimension: 2", "dimension: 3").replace("6 4", "3 4 2")
    extra = (
        "kinds: domain domain list\nspace dimension: 2\n"
        "space directions: (2,0) (0,3) none\nspace origin: (5,6)\n"
    )
    path = write_nrrd(tmp_path / "a.nrrd", extra, header)
    assert frame_count(path) == 2
    image = read_image(path, frame=1)
    np.testing.assert_array_equal(image.array, NUMBERS.reshape(2, 4, 3)[1])
    np.testing.assert_array_equal(image.geometry.lps_affine[:3, 3], (5, 6, 0))


@pytest.mark.parametrize("shape", [(5, 6, 1), (5, 1, 6), (1, 5, 6), (1, 1, 6)])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd"])
def test_a_single_slice_of_a_volume_keeps_its_axes(tmp_path, shape, suffix, ending):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(volumes.itk_image(shape, angles=(5, 6, 7)), str(path))
    image = read_image(path)
    assert image.array.ndim == 2
    back = sitk.ReadImage(str(write_mask(tmp_path, image, ending)))
    theirs = sitk.ReadImage(str(path))
    assert back.GetSize() == shape
    np.testing.assert_allclose(
        volumes.itk_affine(back), volumes.itk_affine(theirs), rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(theirs)
    )
