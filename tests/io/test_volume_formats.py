"""NRRD, MetaImage and MGH: the same voxels at the same places as SimpleITK, nibabel."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.freesurfer.mghformat import MGHHeader

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io import frame_count, read_image, read_labels

_spec = importlib.util.spec_from_file_location(
    "volumes", Path(__file__).with_name("volumes.py")
)
volumes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(volumes)

DATA = Path(__file__).resolve().parents[3] / "shared/data/volumes"
FORMATS = (".nrrd", ".nhdr", ".mha", ".mhd")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64])
def test_volume_as_simpleitk_reads_it(tmp_path, suffix, compressed, flip, dtype):
    path = tmp_path / f"a{suffix}"
    image = volumes.itk_image(dtype=dtype, flip=flip)
    sitk.WriteImage(image, str(path), useCompression=compressed)
    found = read_image(path)
    volumes.assert_same_as_itk(found, path)
    assert found.name == "a"
    assert found.array.dtype == dtype
    assert found.geometry.display_orientation == "SPL"
    assert not found.geometry.assumed
    assert "oblique" in found.notes[0]
    assert frame_count(path) == 1


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_planes_have_rows_first(tmp_path, suffix):
    values = np.arange(30, dtype=np.uint16).reshape(5, 6)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.25))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    found = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found.array, values)
    assert found.geometry.display_spacing == (0.25, 0.5)
    assert found.geometry.source.shape == (6, 5)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colour(tmp_path, suffix):
    values = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=True), str(path))
    found = read_image(path)
    assert found.rgb
    np.testing.assert_array_equal(found.array, values)
    with pytest.raises(ImageError, match="not a mask"):
        read_labels(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_single_slice_is_a_plane(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    image = volumes.itk_image((4, 5, 1), angles=(0, 0, 0))
    sitk.WriteImage(image, str(path))
    found = read_image(path)
    assert found.array.shape == (5, 4)
    assert found.geometry.kind == "patient"
    assert found.geometry.source.shape == (4, 5, 1)
    np.testing.assert_array_equal(found.array, sitk.GetArrayFromImage(image)[0])


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_frames(tmp_path, suffix):
    values = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=False), str(path))
    assert frame_count(path) == 2
    for index in range(2):
        np.testing.assert_array_equal(
            read_image(path, frame=index).array, values[index]
        )
    with pytest.raises(ImageError, match="say which one"):
        read_image(path)
    with pytest.raises(ImageError, match="no frame 2"):
        read_image(path, frame=2)


HEADER = """NRRD0005
type: short
dimension: 3
sizes: 2 3 4
encoding: raw
endian: little
"""
NUMBERS = np.arange(24, dtype="<i2")


def write_nrrd(path, extra, data=None, header=HEADER):
    content = NUMBERS.tobytes() if data is None else data
    path.write_bytes((header + extra + "\n").encode() + content)
    return path


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("left-posterior-superior", (-1, -1, 1)),
    ],
)
def test_nrrd_spaces(tmp_path, space, signs):
    path = write_nrrd(
        tmp_path / "a.nrrd",
        f"space: {space}\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n"
        "space origin: (5,6,7)\n",
    )
    image = read_image(path)
    expected = np.array([[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    expected[:3] *= np.array(signs)[:, None]
    np.testing.assert_array_equal(image.geometry.affine, expected)
    volumes.assert_same_as_itk(image, path)


@pytest.mark.parametrize(
    "extra", ["", "spacings: 2 3 4\n", "space dimension: 3\nspace directions: "
              "(2,0,0) (0,3,0) (0,0,4)\nspace origin: (5,6,7)\n"]
)  # fmt: skip
def test_nrrd_without_orientation_lies_as_itk_puts_it(tmp_path, extra):
    path = write_nrrd(tmp_path / "a.nrrd", extra)
    image = read_image(path)
    assert image.geometry.assumed
    assert "assumed" in image.notes[0]
    volumes.assert_same_as_itk(image, path)


def test_nrrd_in_micrometres_is_told_in_millimetres(tmp_path):
    path = write_nrrd(
        tmp_path / "a.nrrd",
        "space: left-posterior-superior\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n"
        'space origin: (5,6,7)\nspace units: "um" "um" "um"\n',
    )
    image = read_image(path)
    assert image.geometry.spacing == pytest.approx((2e-3, 3e-3, 4e-3))
    assert "um" in image.notes[0]


def test_nrrd_slice_in_three_dimensional_space(tmp_path):
    header = HEADER.replace("dimension: 3", "dimension: 2").replace("2 3 4", "6 4")
    path = write_nrrd(
        tmp_path / "a.nrrd",
        "space: left-posterior-superior\nspace directions: (2,0,0) (0,0,-3)\n"
        "space origin: (5,6,7)\n",
        header=header,
    )
    image = read_image(path)
    assert image.geometry.kind == "patient"
    assert image.geometry.orientation == "LI"
    np.testing.assert_array_equal(image.array, NUMBERS.reshape(4, 6))


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("ascii", " ".join(map(str, NUMBERS)).encode()),
        ("gzip", gzip.compress(NUMBERS.tobytes())),
        ("bzip2", __import__("bz2").compress(NUMBERS.tobytes())),
    ],
)
def test_nrrd_encodings(tmp_path, encoding, data):
    header = HEADER.replace("raw", encoding)
    image = read_image(write_nrrd(tmp_path / "a.nrrd", "", data, header))
    np.testing.assert_array_equal(image.array, NUMBERS.reshape(4, 3, 2))


def test_nrrd_list_axis_counts_frames(tmp_path):
    header = HEADER.replace("dimension: 3", "dimension: 4").replace("2 3 4", "2 3 2 2")
    path = write_nrrd(
        tmp_path / "a.nrrd",
        "space: left-posterior-superior\nkinds: list domain domain domain\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n",
        header=header,
    )
    assert frame_count(path) == 2
    expected = NUMBERS.reshape(2, 2, 3, 2)[..., 1]
    np.testing.assert_array_equal(read_image(path, frame=1).array, expected)


SEGMENTS = """space: left-posterior-superior
space directions: (1,0,0) (0,1,0) (0,0,1)
space origin: (0,0,0)
Segment0_ID:=Segment_1
Segment0_Name:=Leber (größer)
Segment0_Color:=0.866667 0.509804 0.396078
Segment0_LabelValue:=3
Segment0_Layer:=0
Segment0_Tags:=Segmentation.Status:inprogress|TerminologyEntry:Segmentation category \
and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~\
SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^|
Segment1_ID:=Segment_2
Segment1_Name:=tumour
Segment1_LabelValue:=7
"""


def test_segments_have_names_colours_and_codes(tmp_path):
    path = write_nrrd(tmp_path / "a.seg.nrrd", SEGMENTS)
    liver, tumour = read_labels(path).classes
    assert (liver.value, liver.name) == (3, "Leber (größer)")
    assert (liver.color, liver.code) == ("#dd8265", "SCT^10200004^Liver")
    assert (tumour.value, tumour.name, tumour.code) == (7, "tumour", "")
    assert read_image(path).name == "a"
    assert read_image(path).classes == ()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("raw", "rar", "encoding rar"),
        ("sizes: 2 3 4", "sizes: 2 3", "damaged"),
        ("sizes: 2 3 4", "sizes: 2 3 0", "empty"),
        ("sizes: 2 3 4", "sizes: 2 3 400000", "truncated"),
        ("sizes: 2 3 4", "sizes: 2 x 4", "damaged"),
        ("type: short", "type: block", "not numbers"),
        ("endian: little", "data file: ../../a.raw", "outside its folder"),
        ("endian: little", "data file: /etc/passwd", "outside its folder"),
        ("endian: little", "data file: b.raw", "not there"),
        ("endian: little", "data file: LIST", "several data files"),
        ("endian: little", "space: RAS\nspace directions: (0,0,0) (0,1,0) (0,0,1)",
         "where its voxels are"),
    ],
)  # fmt: skip
def test_bad_nrrd(tmp_path, old, new, words):
    path = write_nrrd(tmp_path / "a.nrrd", "", header=HEADER.replace(old, new))
    with pytest.raises(ImageError, match=words):
        read_image(path)


META = """ObjectType = Image
NDims = 3
DimSize = 2 3 4
ElementType = MET_SHORT
ElementSpacing = 2 3 4
ElementDataFile = LOCAL
"""


def write_mha(path, header=META, data=None):
    path.write_bytes(header.encode() + (NUMBERS.tobytes() if data is None else data))
    return path


def test_metaimage_without_orientation_lies_as_itk_puts_it(tmp_path):
    image = read_image(write_mha(tmp_path / "a.mha"))
    assert image.geometry.assumed
    volumes.assert_same_as_itk(image, tmp_path / "a.mha")


def test_metaimage_header_of_unknown_length(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"some words" + NUMBERS.tobytes())
    header = META.replace("LOCAL", "a.raw").replace("NDims", "HeaderSize = -1\nNDims")
    image = read_image(write_mha(tmp_path / "a.mhd", header, b""))
    np.testing.assert_array_equal(image.array, NUMBERS.reshape(4, 3, 2))


def test_metaimage_big_endian(tmp_path):
    header = META.replace("NDims", "BinaryDataByteOrderMSB = True\nNDims")
    path = write_mha(tmp_path / "a.mha", header, NUMBERS.astype(">i2").tobytes())
    image = read_image(path)
    np.testing.assert_array_equal(image.array, NUMBERS.reshape(4, 3, 2))
    assert image.array.dtype.isnative


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("DimSize = 2 3 4\n", "", "DimSize is missing"),
        ("2 3 4\nElementType", "2 3\nElementType", "DimSize"),
        ("2 3 4\nElementType", "2 3 0\nElementType", "empty"),
        ("2 3 4\nElementType", "32767 32767 32767\nElementType", "truncated"),
        ("2 3 4\nElementType", "2 3 -4\nElementType", "damaged"),
        ("NDims = 3", "NDims = 7", "damaged"),
        ("MET_SHORT", "MET_STRING", "not numbers"),
        ("LOCAL", "/etc/passwd", "outside its folder"),
        ("LOCAL", "a_%03d.raw 1 3 1", "several data files"),
        ("ElementSpacing = 2 3 4", "ElementSpacing = 2 0 4", "spacing"),
        ("ElementDataFile = LOCAL", "Comment = none", "names no data"),
        ("NDims", "CompressedData = True\nNDims", "truncated or damaged"),
    ],
)
def test_bad_metaimage(tmp_path, old, new, words):
    path = write_mha(tmp_path / "a.mha", META.replace(old, new))
    with pytest.raises(ImageError, match=words):
        read_image(path)


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_mgh_as_nibabel_reads_it(tmp_path, suffix, dtype):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    affine = np.eye(4)
    affine[:3, :3] = volumes.turned() * (1, 2, 3)
    affine[:3, 3] = (4, 5, 6)
    path = tmp_path / f"a{suffix}"
    written = nib.MGHImage(values, affine)
    nib.save(written, path)
    image = read_image(path)
    np.testing.assert_array_equal(image.geometry.to_source(image.array), values)
    expected = written.header.get_affine()  # of the numbers as they are stored
    np.testing.assert_allclose(image.geometry.affine, expected, atol=1e-6)
    assert image.array.dtype == dtype


def test_mgh_frames(tmp_path):
    values = np.arange(48, dtype=np.int16).reshape(2, 3, 4, 2)
    nib.save(nib.MGHImage(values, np.eye(4)), tmp_path / "a.mgz")
    assert frame_count(tmp_path / "a.mgz") == 2
    image = read_image(tmp_path / "a.mgz", frame=1)
    np.testing.assert_array_equal(image.geometry.to_source(image.array), values[..., 1])


def test_mgh_without_orientation(tmp_path):
    path = tmp_path / "a.mgh"
    nib.save(nib.MGHImage(np.ones((2, 3, 4), np.uint8), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[28:30] = b"\0\0"  # goodRASFlag
    path.write_bytes(content)
    image = read_image(path)
    assert image.geometry.assumed
    with path.open("rb") as file:
        expected = MGHHeader.from_fileobj(file).get_affine()
    np.testing.assert_array_equal(image.geometry.affine, expected)


def test_mgh_truncated_or_of_another_kind(tmp_path):
    path = tmp_path / "a.mgh"
    nib.save(nib.MGHImage(np.ones((20, 30, 4), np.uint8), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ImageError, match="truncated"):
        read_image(path)
    path.write_bytes(b"hello")
    with pytest.raises(ImageError, match="another kind"):
        read_image(path)


@pytest.mark.skipif(not DATA.exists(), reason="shared data are not beside the checkout")
@pytest.mark.parametrize(
    "name", ["brain1_image.nrrd", "brain1_label.nrrd", "small.mha"]
)
def test_real_volumes(name):
    volumes.assert_same_as_itk(read_image(DATA / name), DATA / name)
