"""DICOM: sorted by position, honest about gaps, tilt, mixtures and dirt."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from napari_medurwkv.errors import (
    ApproximateGeometryError,
    ImageError,
    SeriesChoiceError,
)
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import (
    frame_count,
    is_label_file,
    read_image,
    read_labels,
    source_sha256,
)
from napari_medurwkv.io.dicom import list_series, source_datasets

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared/data/dicom"
PYDICOM = Path(pydicom.__file__).parent / "data/test_files"
needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="shared data are not beside the checkout"
)


def _load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dicoms, volumes = _load("dicoms"), _load("volumes")


def itk_series(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def assert_as_itk(image, folder):
    other = itk_series(folder)
    np.testing.assert_allclose(
        image.geometry.lps_affine, volumes.itk_affine(other), atol=1e-5
    )
    np.testing.assert_array_equal(
        image.geometry.to_source(image.array), sitk.GetArrayFromImage(other).T
    )


class TestSeries:
    def test_is_sorted_by_position_and_measured_by_it(self, tmp_path):
        folder = dicoms.write_series(tmp_path / "s")
        image = read_image(folder)
        assert_as_itk(image, folder)
        np.testing.assert_array_equal(
            image.geometry.to_source(image.array).T, dicoms.numbers()
        )
        assert image.geometry.display_spacing == pytest.approx(dicoms.SPACING)
        assert image.geometry.display_orientation == "SPL"
        assert image.geometry.orientation == "LPS"
        assert not image.geometry.approximate
        assert image.notes == ()
        assert image.name == "s"
        assert frame_count(folder) == 1
        assert not is_label_file(folder)

    @pytest.mark.parametrize("angles", [(20, -30, 50), (90, 0, 0), (0, 44.9, 45.1)])
    def test_oblique(self, tmp_path, angles):
        turned = volumes.turned(angles)
        places = dicoms.positions(step=turned[:, 2] * 2)
        axes = [round(float(x), 8) for x in (*turned[:, 0], *turned[:, 1])]
        folder = dicoms.write_series(tmp_path, places=places, orientation=tuple(axes))
        assert_as_itk(read_image(folder), folder)

    def test_source_lists_the_files_in_slice_order(self, tmp_path):
        folder = dicoms.write_series(tmp_path / "s")
        source = read_image(folder).geometry.source
        assert source.path == str(folder)
        assert source.shape == (6, 5, 4)
        heights = [
            float(pydicom.dcmread(file).ImagePositionPatient[2])
            for file in source.dicom.files
        ]
        assert heights == [30, 32, 34, 36]
        assert source.dicom.series_instance_uid == "1.2.3"
        assert source.dicom.modality == "CT"
        assert len(set(source.dicom.sop_instance_uids)) == 4

    def test_one_file_is_one_slice(self, tmp_path):
        folder = dicoms.write_series(tmp_path)
        image = read_image(folder / "IMs_001.dcm")
        assert image.geometry.kind == "patient"
        np.testing.assert_array_equal(image.array, dicoms.numbers()[3])
        assert "folder" in image.notes[0]

    def test_names_without_ending_and_other_files(self, tmp_path):
        folder = dicoms.write_series(tmp_path / "a/b")
        for file in sorted(folder.iterdir()):
            file.rename(file.with_suffix(""))
        (tmp_path / "a/readme.txt").write_text("hello")
        (tmp_path / "a/DICOMDIR").write_bytes(bytes(128) + b"DICM")
        image = read_image(tmp_path / "a")
        np.testing.assert_array_equal(
            image.geometry.to_source(image.array).T, dicoms.numbers()
        )
        one = read_image(next(folder.iterdir()))
        assert one.array.shape == (5, 6)

    def test_copies_are_left_out(self, tmp_path):
        folder = dicoms.write_series(tmp_path)
        shutil.copy(folder / "IMs_002.dcm", folder / "copy.dcm")
        assert read_image(folder).array.shape == dicoms.SHAPE

    def test_a_damaged_file_makes_a_gap_not_a_thinner_volume(self, tmp_path):
        folder = dicoms.write_series(tmp_path)
        (folder / "IMs_002.dcm").write_bytes(b"\0" * 500)
        with pytest.raises(ApproximateGeometryError, match="1 slice is missing"):
            read_image(folder)


class TestIrregular:
    def gap(self, folder):
        dicoms.write_series(folder, dicoms.numbers((8, 5, 6)))
        (folder / "IMs_004.dcm").unlink()
        (folder / "IMs_005.dcm").unlink()
        return folder

    def test_missing_slices_are_refused(self, tmp_path):
        with pytest.raises(ApproximateGeometryError, match="2 slices are missing"):
            read_image(self.gap(tmp_path))

    def test_missing_slices_may_be_taken_and_stay_marked(self, tmp_path):
        image = read_image(self.gap(tmp_path), approximate=True)
        assert image.array.shape[0] == 6
        assert "2 slices are missing" in image.geometry.approximate
        assert "geometry approximate" in image.geometry.describe()
        assert any("approximate" in note for note in image.notes)
        # First and last slice are where they were.
        index = np.array([0, 0, 5, 1.0])
        assert (image.geometry.lps_affine @ index)[2] == pytest.approx(44)
        back = Geometry.from_json(json.loads(json.dumps(image.geometry.to_json())))
        assert back.approximate == image.geometry.approximate

    def test_how_far_places_are_off_is_true(self, tmp_path):
        image = read_image(self.gap(tmp_path), approximate=True)
        truth = np.array([30, 32, 34, 40, 42, 44.0])
        off = np.abs(truth - np.linspace(30, 44, 6)).max()
        assert f"up to {off:.3g} mm" in image.geometry.approximate

    def test_uneven_slices(self, tmp_path):
        places = dicoms.positions()
        places[2] = places[2] + (0, 0, 0.7)
        with pytest.raises(
            ApproximateGeometryError, match=r"varies from 1\.3 to 2\.7 mm"
        ):
            read_image(dicoms.write_series(tmp_path, places=places))

    def test_noise_of_decimals_is_no_gap(self, tmp_path):
        places = dicoms.positions(20)
        noise = np.random.default_rng(0).uniform(-5e-4, 5e-4, (20, 3))
        noise[[0, -1]] = 0
        folder = dicoms.write_series(
            tmp_path, dicoms.numbers((20, 5, 6)), list(np.add(places, noise))
        )
        image = read_image(folder)
        assert image.geometry.display_spacing[0] == pytest.approx(2.0)

    def test_gantry_tilt(self, tmp_path):
        shift = 2 * np.tan(np.radians(16.7))
        places = dicoms.positions(step=(0, shift, 2))
        folder = dicoms.write_series(tmp_path, places=places)
        with pytest.raises(ApproximateGeometryError, match=r"tilted by 16\.7 degrees"):
            read_image(folder)
        image = read_image(folder, approximate=True)
        assert "tilt" in image.geometry.approximate
        # The affine keeps the shear: every slice is where it was.
        for k, place in enumerate(places):
            found = image.geometry.lps_affine @ (0, 0, k, 1)
            np.testing.assert_allclose(found[:3], place, atol=1e-5)

    def test_slices_without_position_among_others(self, tmp_path):
        folder = dicoms.write_series(tmp_path)
        data = pydicom.dcmread(folder / "IMs_001.dcm")
        del data.ImagePositionPatient
        dicoms.save(data, folder / "IMs_001.dcm")
        with pytest.raises(ImageError):
            read_image(folder)

    def test_unequal_pixel_sizes(self, tmp_path):
        sizes = [[0.5, 0.75]] * 3 + [[0.5, 0.8]]
        folder = dicoms.write_series(tmp_path, PixelSpacing=sizes)
        with pytest.raises(ImageError, match="one pixel size"):
            read_image(folder)


class TestMixtures:
    def two_series(self, tmp_path):
        dicoms.write_series(tmp_path / "all")
        dicoms.write_series(tmp_path / "all", dicoms.numbers((3, 7, 8)), series="1.2.5")
        return tmp_path / "all"

    def test_several_series_are_a_choice(self, tmp_path):
        folder = self.two_series(tmp_path)
        with pytest.raises(
            SeriesChoiceError, match=r"holds 2 images.*--series"
        ) as info:
            read_image(folder)
        assert [c.number for c in info.value.series] == [1, 2]
        assert "4 slices of 6 x 5" in info.value.series[0].text
        assert list_series(folder) == info.value.series
        for series, shape in ((1, (4, 5, 6)), ("2", (3, 7, 8)), ("1.2.5", (3, 7, 8))):
            assert read_image(folder, series=series).array.shape == shape
        with pytest.raises(ImageError, match="no series 3: it holds 1 = CT"):
            read_image(folder, series=3)

    def test_scout_within_a_series_is_another_image(self, tmp_path):
        folder = dicoms.write_series(tmp_path)
        scout = dicoms.make_slice(
            dicoms.numbers((5, 6)), (0, 0, 0), orientation=(1, 0, 0, 0, 0, -1), number=9
        )
        dicoms.save(scout, folder / "scout.dcm")
        with pytest.raises(SeriesChoiceError):
            read_image(folder)
        assert read_image(folder, series=1).array.shape == dicoms.SHAPE

    @pytest.mark.parametrize(
        ("key", "values"),
        [("TemporalPositionIdentifier", (2, 1)), ("EchoTime", (5.0, 2.5))],
    )
    def test_frames(self, tmp_path, key, values):
        first, second = dicoms.numbers(), dicoms.numbers() + 1000
        for part, plane in zip(values, (first, second), strict=True):
            dicoms.write_series(tmp_path / f"{part}", plane, **{key: part})
        assert frame_count(tmp_path) == 2
        with pytest.raises(ImageError, match="2 frames"):
            read_image(tmp_path)
        low, high = (read_image(tmp_path, frame=i) for i in range(2))
        np.testing.assert_array_equal(low.geometry.to_source(low.array).T, second)
        np.testing.assert_array_equal(high.geometry.to_source(high.array).T, first)
        assert any(key in note for note in low.notes)
        assert low.geometry.source.frame == 0

    def test_places_taken_unequally(self, tmp_path):
        folder = dicoms.write_series(tmp_path)
        extra = dicoms.make_slice(dicoms.numbers((5, 6)), (-10, -20, 30), number=77)
        extra.SOPInstanceUID = "1.2.77"
        dicoms.save(extra, folder / "extra.dcm")
        with pytest.raises(ImageError, match="1 slices at some places and 2"):
            read_image(folder)


class TestDirt:
    def test_empty_identifiers(self, tmp_path):
        folder = dicoms.write_series(tmp_path, SOPInstanceUID="", SOPClassUID="")
        image = read_image(folder)
        assert image.array.shape == dicoms.SHAPE
        assert "anonymisers" in image.notes[0]
        datasets, notes = source_datasets(image.geometry)
        assert len({data.SOPInstanceUID for data in datasets}) == 4
        assert all(data.SOPClassUID for data in datasets)
        assert any("SOPInstanceUID" in note for note in notes)

    def test_one_identifier_for_all(self, tmp_path):
        folder = dicoms.write_series(tmp_path, SOPInstanceUID="1.2.3.4")
        image = read_image(folder)
        assert image.array.shape == dicoms.SHAPE
        assert "repeated" in image.notes[0]

    def test_identifiers_beyond_repair(self, tmp_path):
        folder = dicoms.write_series(tmp_path, SOPInstanceUID="1.2.3.4")
        for file in folder.iterdir():
            data = pydicom.dcmread(file)
            data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
            dicoms.save(data, file)
        with pytest.raises(ImageError, match="no usable SOPInstanceUID"):
            source_datasets(read_image(folder).geometry)

    def test_files_that_are_gone(self, tmp_path):
        folder = dicoms.write_series(tmp_path)
        geometry = read_image(folder).geometry
        (folder / "IMs_001.dcm").unlink()
        with pytest.raises(ImageError, match="not there any more"):
            source_datasets(geometry)

    @needs_data
    def test_the_real_series_lies_on_its_labels(self):
        image = read_image(DATA / "ct_abdomen_series")
        assert_as_itk(image, DATA / "ct_abdomen_series")
        organs = read_labels(DATA / "ct_abdomen_series_organs.nii.gz")
        np.testing.assert_allclose(
            organs.geometry.display_affine, image.geometry.display_affine, atol=1e-4
        )
        # Vertebrae and liver have the density of bone and of liver.
        liver = image.array[organs.array == 5]
        assert 60 < liver.mean() < 130
        assert liver.std() < 40
        flipped = image.array[:, ::-1][organs.array == 5]
        assert flipped.std() > 100
        assert "anonymisers" in image.notes[0]
        datasets, _ = source_datasets(image.geometry)
        assert len({data.SOPInstanceUID for data in datasets}) == 20

    @needs_data
    def test_enhanced_multi_frame(self):
        highdicom = pytest.importorskip("highdicom")
        path = DATA / "enhanced_mr_multiframe.dcm"
        image = read_image(path)
        volume = highdicom.imread(path).get_volume()
        # highdicom counts (slice, row, column), its slices downward here.
        expected = volume.array[::-1].T
        np.testing.assert_array_equal(image.geometry.to_source(image.array), expected)
        ends = np.array([[0, 0, 0, 1], [5, 63, 63, 1.0]]).T
        theirs = volume.affine @ ends
        ours = image.geometry.lps_affine @ np.array([[0, 0, 5, 1], [63, 63, 0, 1.0]]).T
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        assert image.geometry.spacing == pytest.approx((3.375, 3.375, 2.4))
        assert image.geometry.source.dicom.frames == (5, 4, 3, 2, 1, 0) or (
            sorted(image.geometry.source.dicom.frames) == list(range(6))
        )


class TestIntensities:
    def test_rescale_of_each_slice(self, tmp_path):
        slopes, intercepts = [1.5, 2.5, 3.5, 4.5], [0, 1, 2, 3]
        folder = dicoms.write_series(
            tmp_path, RescaleSlope=slopes, RescaleIntercept=intercepts
        )
        image = read_image(folder)
        assert image.array.dtype == np.float32
        found = image.geometry.to_source(image.array).T
        for k in range(4):
            expected = dicoms.numbers()[k] * slopes[k] + intercepts[k]
            np.testing.assert_allclose(found[k], expected)

    def test_hounsfield_units_stay_whole(self, tmp_path):
        values = dicoms.numbers(dtype=np.uint16)
        folder = dicoms.write_series(
            tmp_path, values, RescaleIntercept=-1024, BitsStored=12, HighBit=11
        )
        image = read_image(folder)
        assert image.array.dtype == np.int16
        assert image.array.min() == -1024

    def test_what_exceeds_16_bits_is_not_cut(self, tmp_path):
        values = np.full((4, 5, 6), 60000, np.uint16)
        folder = dicoms.write_series(tmp_path, values, RescaleIntercept=-1024)
        image = read_image(folder)
        assert image.array.dtype == np.int32
        assert image.array.max() == 58976

    @pytest.mark.parametrize(("slope", "intercept"), [(2, -20000), (1, -40000), (3, 5)])
    def test_whole_scales(self, tmp_path, slope, intercept):
        values = np.full((4, 5, 6), 25000, np.uint16)
        values[2] = 7
        folder = dicoms.write_series(
            tmp_path, values, RescaleSlope=slope, RescaleIntercept=intercept
        )
        image = read_image(folder)
        expected = values.astype(int) * slope + intercept
        np.testing.assert_array_equal(image.geometry.to_source(image.array).T, expected)
        assert image.array.dtype.kind == "i"

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
    def test_monochrome1_is_inverted_and_recorded(self, tmp_path, dtype):
        values = dicoms.numbers(dtype=dtype)
        folder = dicoms.write_series(
            tmp_path, values, PhotometricInterpretation="MONOCHROME1"
        )
        image = read_image(folder)
        found = image.geometry.to_source(image.array).T
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        np.testing.assert_array_equal(found, high + low - values.astype(int))
        assert image.geometry.source.dicom.inverted
        assert any("inverted" in note for note in image.notes)

    def test_picture_without_position(self, tmp_path):
        data = dicoms.make_slice(
            dicoms.numbers((5, 6)),
            (0, 0, 0),
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
        )
        image = read_image(dicoms.save(data, tmp_path / "a.dcm"))
        np.testing.assert_array_equal(image.array, dicoms.numbers((5, 6)))
        assert image.geometry.kind == "pixel-size-only"
        assert image.geometry.display_spacing == (0.5, 0.75)


PACKED = [
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_expb.dcm",
]


@pytest.mark.parametrize("name", PACKED)
def test_transfer_syntaxes(name):
    expected = read_image(PYDICOM / "MR_small.dcm")
    found = read_image(PYDICOM / name)
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_array_equal(found.geometry.affine, expected.geometry.affine)


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm",
        "CT_small.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPEGLSNearLossless_08.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_rle.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "examples_palette.dcm",
        "examples_rgb_color.dcm",
        "image_dfl.dcm",
    ],
)
def test_packaged_files_as_simpleitk_decodes_them(name):
    image = read_image(PYDICOM / name)
    found = image.geometry.to_source(image.array)
    if image.geometry.kind == "patient":
        found = found.T
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(PYDICOM / name)))
    np.testing.assert_array_equal(found, expected.squeeze())


def test_film_has_frames():
    path = PYDICOM / "examples_ybr_color.dcm"
    assert frame_count(path) == 30
    image = read_image(path, frame=7)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[7]
    np.testing.assert_array_equal(image.array, expected)
    assert image.geometry.unit == "mm"


def test_dose_grid_is_a_volume_in_gray():
    path = PYDICOM / "rtdose.dcm"
    image = read_image(path)
    other = sitk.ReadImage(str(path))
    np.testing.assert_allclose(
        image.geometry.lps_affine, volumes.itk_affine(other), atol=1e-5
    )
    data = pydicom.dcmread(path)
    np.testing.assert_allclose(
        image.geometry.to_source(image.array).T,
        data.pixel_array * float(data.DoseGridScaling),
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rtplan.dcm", "holds no image.*RTPLAN"),
        ("MR_truncated.dcm", "truncated or damaged"),
        ("badVR.dcm", "damaged"),
        ("JPGExtended.dcm", "no installed decoder"),
        ("dicomdirtests/DICOMDIR", "open the folder"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "truncated or damaged"),
    ],
)
def test_what_cannot_be_read(name, words):
    with pytest.raises(ImageError, match=words):
        read_image(PYDICOM / name)


def test_folder_without_images(tmp_path):
    with pytest.raises(ImageError, match="without DICOM images"):
        read_image(tmp_path)


def test_series_is_an_option_of_dicom_only(save_nifti):
    with pytest.raises(ImageError, match="leave the option series out"):
        read_image(save_nifti(np.ones((3, 4, 5), np.uint8)), series=1)


class TestSegmentation:
    @pytest.fixture
    def written(self, tmp_path):
        seg = pytest.importorskip("highdicom.seg")
        from highdicom.color import CIELabColor
        from pydicom.sr.codedict import codes

        folder = dicoms.write_series(tmp_path / "ct")
        image = read_image(folder)
        datasets, _ = source_datasets(image.geometry)
        for data in datasets:
            data.PatientSex, data.StudyTime, data.StudyID = "", "", ""
            data.PatientBirthDate = ""
        labels = np.zeros(image.array.shape, np.uint8)
        labels[1:3, 1:4, 2:5] = 1
        labels[2, 3, 3] = 2
        names = (("Liver", codes.SCT.Liver), ("Lesion", codes.SCT.Lesion))
        described = [
            seg.SegmentDescription(
                number,
                name,
                codes.SCT.Organ
                if number == 1
                else codes.SCT.MorphologicallyAbnormalStructure,
                code,
                "MANUAL",
                display_color=CIELabColor.from_rgb(221, 130, 101)
                if number == 1
                else None,
            )
            for number, (name, code) in enumerate(names, 1)
        ]
        segmentation = seg.Segmentation(
            source_images=datasets,
            pixel_array=image.geometry.to_source(labels).T,
            segmentation_type="BINARY",
            segment_descriptions=described,
            series_instance_uid="1.2.30",
            series_number=30,
            sop_instance_uid="1.2.31",
            instance_number=1,
            manufacturer="x",
            manufacturer_model_name="x",
            software_versions="1",
            device_serial_number="1",
        )
        path = tmp_path / "mask.dcm"
        segmentation.save_as(path)
        return folder, path, image, labels

    def test_mask_lies_on_its_image_and_has_names(self, written):
        _, path, image, labels = written
        assert is_label_file(path)
        mask = read_labels(path)
        liver, lesion = mask.classes
        assert (liver.value, liver.name) == (1, "Liver")
        assert (liver.color, liver.code) == ("#dd8265", "SCT^10200004^Liver")
        assert lesion.name == "Lesion"
        # Empty slices before and after are not in the file: compare in the world.
        to_image = np.linalg.inv(image.geometry.display_affine)
        offset = (to_image @ mask.geometry.display_affine)[:3, ::1]
        start = np.round(offset[:, 3]).astype(int)
        np.testing.assert_allclose(offset[:, :3], np.eye(3), atol=1e-6)
        np.testing.assert_allclose(offset[:, 3], start, atol=1e-4)
        window = tuple(
            slice(s, s + n) for s, n in zip(start, mask.array.shape, strict=True)
        )
        np.testing.assert_array_equal(mask.array, labels[window])
        assert labels.sum() == labels[window].sum()

    def test_beside_its_image(self, written):
        folder, path, image, _ = written
        shutil.copy(path, folder / "seg.dcm")
        assert read_image(folder).array.shape == image.array.shape
        assert read_labels(folder).classes[0].name == "Liver"

    def test_damaged(self, written, tmp_path):
        _, path, _, _ = written
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ImageError, match=r"damaged|no image"):
            read_labels(path)


class TestPrivacy:
    def test_nothing_of_the_patient_is_kept(self, tmp_path, caplog, capfd):
        caplog.set_level(logging.DEBUG)
        folder = dicoms.write_series(tmp_path / "s")
        image = read_image(folder)
        said = json.dumps(image.geometry.to_json()) + repr(image.notes)
        out = capfd.readouterr()
        said += caplog.text + out.out + out.err
        for value in (*dicoms.PATIENT.values(), "Mustermann", "Erika"):
            assert value not in said

    def test_errors_do_not_quote_the_patient(self, tmp_path):
        folder = dicoms.write_series(tmp_path / "s")
        (folder / "IMs_002.dcm").unlink()
        with pytest.raises(ImageError) as info:
            read_image(folder)
        assert not any(value in str(info.value) for value in dicoms.PATIENT.values())


def test_the_extra_is_named_where_it_is_missing(monkeypatch, tmp_path):
    from napari_medurwkv.io.dicom import library

    def gone(name):
        raise ImportError(name)

    folder = dicoms.write_series(tmp_path)
    monkeypatch.setattr(library, "import_module", gone)
    with pytest.raises(ImageError, match=r"napari-medurwkv\[dicom\]"):
        read_image(folder)


def test_digest_is_of_all_files(tmp_path):
    folder = dicoms.write_series(tmp_path / "s")
    first = source_sha256(read_image(folder).geometry.source)
    assert first == source_sha256(read_image(folder).geometry.source)
    data = pydicom.dcmread(folder / "IMs_004.dcm")
    data.WindowCenter = 40
    dicoms.save(data, folder / "IMs_004.dcm")
    assert first != source_sha256(read_image(folder).geometry.source)


def test_a_decoder_that_panics_is_a_damaged_file(tmp_path, monkeypatch):
    # Decoders written in Rust raise what is no Exception.
    class PanicException(BaseException):
        pass

    def panic(*args, **options):
        raise PanicException("index out of bounds")

    path = dicoms.save(
        dicoms.make_slice(dicoms.numbers((5, 6)), (0, 0, 0)), tmp_path / "a"
    )
    import pydicom.pixels

    monkeypatch.setattr(pydicom.pixels, "iter_pixels", panic)
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)

    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(pydicom.pixels, "iter_pixels", stop)
    with pytest.raises(KeyboardInterrupt):
        read_image(path)


def test_jpeg_ls_that_is_cut_off_does_not_hang(tmp_path):
    content = (PYDICOM / "MR_small_jpeg_ls_lossless.dcm").read_bytes()
    path = tmp_path / "a.dcm"
    path.write_bytes(content[: int(0.97 * len(content))])
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)


class TestEnhanced:
    """Multi-frame files: 6 planes, each with functional groups of its own."""

    def make(self, path, *, times=1, missing=(), stacks=1, describe=True):
        planes = dicoms.numbers((6 * times, 5, 6))
        data = dicoms.make_slice(
            planes[0], (0, 0, 0), ImagePositionPatient=None, PixelSpacing=None,
            ImageOrientationPatient=None, RescaleSlope=None, RescaleIntercept=None,
        )  # fmt: skip
        new = pydicom.Dataset
        measures, turned, shared = new(), new(), new()
        measures.PixelSpacing = [0.5, 0.75]
        shared.PixelMeasuresSequence = [measures]
        data.SharedFunctionalGroupsSequence = [shared]
        groups, kept = [], []
        for index in range(6 * times):
            z, t = index % 6, index // 6
            if z in missing:
                continue
            group, place, turned, content, scale = (new() for _ in range(5))
            place.ImagePositionPatient = [-10, -20, 30 + 2 * (5 - z)]  # downward
            axes = (
                dicoms.AXIAL if z * stacks < 6 or stacks == 1 else (0, 1, 0, 0, 0, -1)
            )
            turned.ImageOrientationPatient = list(axes)
            content.TemporalPositionIndex = t + 1
            scale.RescaleSlope, scale.RescaleIntercept = 1 + t, -3
            group.PlanePositionSequence = [place]
            group.PlaneOrientationSequence = [turned]
            group.FrameContentSequence = [content]
            group.PixelValueTransformationSequence = [scale]
            groups.append(group)
            kept.append(planes[index])
        data.PerFrameFunctionalGroupsSequence = groups if describe else groups[:-1]
        data.NumberOfFrames = len(kept)
        data.PixelData = np.stack(kept).tobytes()
        data["PixelData"].VR = "OW"
        return dicoms.save(data, path), planes

    def test_frames_sorted_and_scaled_one_by_one(self, tmp_path):
        path, planes = self.make(tmp_path / "a.dcm")
        image = read_image(path)
        np.testing.assert_array_equal(image.array, planes[::-1] - 3)
        assert image.geometry.source.dicom.frames == (5, 4, 3, 2, 1, 0)
        assert image.geometry.display_spacing == (2, 0.5, 0.75)
        expected = np.diag([-0.75, -0.5, 2, 1])
        expected[:3, 3] = 10, 20, 30
        np.testing.assert_allclose(image.geometry.affine, expected)

    def test_time(self, tmp_path):
        path, planes = self.make(tmp_path / "a.dcm", times=2)
        assert frame_count(path) == 2
        for t in range(2):
            image = read_image(path, frame=t)
            expected = planes[6 * t : 6 * t + 6][::-1].astype(int) * (1 + t) - 3
            np.testing.assert_array_equal(image.array, expected)

    def test_a_missing_plane(self, tmp_path):
        path, _ = self.make(tmp_path / "a.dcm", missing=(2,))
        with pytest.raises(ApproximateGeometryError, match="1 slice is missing"):
            read_image(path)

    def test_two_stacks_in_one_file(self, tmp_path):
        path, planes = self.make(tmp_path / "a.dcm", stacks=2)
        with pytest.raises(SeriesChoiceError, match="holds 2 images"):
            read_image(path)
        np.testing.assert_array_equal(
            read_image(path, series=1).array, planes[:3][::-1] - 3
        )

    def test_a_damaged_description(self, tmp_path):
        path, _ = self.make(tmp_path / "a.dcm")
        content = path.read_bytes()
        assert b"\x20\x00\x13\x91SQ" in content
        path.write_bytes(content.replace(b"\x20\x00\x13\x91SQ", b"\x20\x00\x13\x91QQ"))
        for read in (read_image, read_labels):
            with pytest.raises(ImageError, match="damaged DICOM header"):
                read(path)

    def test_frames_that_are_not_described(self, tmp_path):
        path, _ = self.make(tmp_path / "a.dcm", describe=False)
        with pytest.raises(ImageError, match="describes 5 of its 6 frames"):
            read_image(path)


def test_an_element_that_swallowed_others_gets_into_no_message(tmp_path):
    content = bytearray((PYDICOM / "CT_small.dcm").read_bytes())
    place = content.index(b"\x08\x00\x60\x00CS\x02\x00CT")
    content[place + 6 : place + 8] = (1200).to_bytes(2, "little")
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"{path} holds no image: it is a DICOM file of another kind."
    )
