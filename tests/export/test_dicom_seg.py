"""DICOM segmentations: right in every reader, honest about how they were made."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from napari_medurwkv.errors import OutputError
from napari_medurwkv.export import ExportMask, ExportOptions, export_mask
from napari_medurwkv.io import read_image, read_labels

from .conftest import CLASSES, load_dicoms

dicoms = load_dicoms()

SHAPE = (5, 12, 14)
OBLIQUE = (0.96, 0.28, 0, -0.28, 0.96, 0)


def series(folder, **elements):
    values = dicoms.numbers(SHAPE)
    return dicoms.write_series(
        folder, values, dicoms.positions(len(values)), **elements
    )


@pytest.fixture
def folder(tmp_path):
    return series(tmp_path / "ct")


def mask_of(scan, **fields):
    labels = np.zeros(scan.array.shape, np.uint8)
    labels[1:3, 2:6, 3:9] = 1
    labels[2:4, 8:11, 1:5] = 7
    return ExportMask(labels, scan.geometry, CLASSES, **fields)


def test_voxels_come_back_on_the_whole_grid(folder, tmp_path):
    mask = mask_of(read_image(folder))
    export_mask(mask, ["dicom-seg"], tmp_path / "m")
    back = read_labels(tmp_path / "m.dcm")
    # Segments are numbered 1, 2; the values are told in words.
    assert np.array_equal(back.array, np.searchsorted([0, 1, 7], mask.labels))
    np.testing.assert_allclose(
        back.geometry.affine, mask.geometry.affine, rtol=0, atol=1e-5
    )
    assert [c.name for c in back.classes] == ["Liver", "odd; thing"]
    told = pydicom.dcmread(tmp_path / "m.dcm").SegmentSequence[1]
    assert told.SegmentDescription == "value 7 of the mask"


def test_oblique_slices(tmp_path):
    image = read_image(series(tmp_path / "ct", orientation=OBLIQUE))
    mask = mask_of(image)
    export_mask(mask, ["dicom-seg"], tmp_path / "m")
    back = read_labels(tmp_path / "m.dcm")
    np.testing.assert_allclose(
        back.geometry.affine, mask.geometry.affine, rtol=0, atol=1e-5
    )
    assert np.array_equal(back.array > 0, mask.labels > 0)


def test_each_frame_lies_on_its_image_although_slices_are_missing(tmp_path):
    folder = series(tmp_path / "ct")
    paths = sorted(
        folder.iterdir(), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2]
    )
    paths[3].unlink()
    image = read_image(folder, approximate=True)
    mask = mask_of(image)
    export_mask(mask, ["dicom-seg"], tmp_path / "m")
    seg = pydicom.dcmread(tmp_path / "m.dcm")
    assert "approximate" in seg.SeriesDescription
    assert "approximate" in seg.ContentDescription
    places = {
        float(f.PlanePositionSequence[0].ImagePositionPatient[2])
        for f in seg.PerFrameFunctionalGroupsSequence
    }
    assert places == {30.0, 32.0, 34.0, 38.0}
    source = mask.geometry.to_source(mask.labels)
    for frame, item in zip(
        seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True
    ):
        position = item.PlanePositionSequence[0].ImagePositionPatient[2]
        k = [30.0, 32.0, 34.0, 38.0].index(float(position))
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert np.array_equal(frame.T > 0, source[:, :, k] == (0, 1, 7)[number])


def test_facts_about_the_segments(folder, record, tmp_path):
    mask = mask_of(read_image(folder), record=record, changed=0)
    export_mask(mask, ["dicom-seg"], tmp_path / "m")
    seg = pydicom.dcmread(tmp_path / "m.dcm")
    liver, thing = seg.SegmentSequence
    assert seg.SegmentationType == "BINARY"
    assert liver.SegmentAlgorithmType == "AUTOMATIC"
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert liver.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    assert thing.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "organs"
    assert algorithm.AlgorithmSource == "ab" * 32
    assert "SHA-256" in algorithm.AlgorithmParameters
    assert liver.TrackingUID != thing.TrackingUID
    assert "research use only" in seg.SeriesDescription
    assert seg.preamble == b"\0" * 128
    source = pydicom.dcmread(next(folder.iterdir()))
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(referenced.ReferencedInstanceSequence) == SHAPE[0]
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert seg.StudyInstanceUID == source.StudyInstanceUID


@pytest.mark.parametrize(
    ("with_record", "changed", "word"),
    [
        (True, 5, "SEMIAUTOMATIC"),
        (True, None, "SEMIAUTOMATIC"),
        (False, None, "MANUAL"),
    ],
)
def test_edits_are_told(folder, record, tmp_path, with_record, changed, word):
    given = record if with_record else None
    mask = mask_of(read_image(folder), record=given, changed=changed)
    export_mask(mask, ["dicom-seg"], tmp_path / "m")
    seg = pydicom.dcmread(tmp_path / "m.dcm")
    assert {item.SegmentAlgorithmType for item in seg.SegmentSequence} == {word}


def test_labelmaps_on_request(folder, tmp_path):
    mask = mask_of(read_image(folder))
    options = ExportOptions(labelmap=True)
    export_mask(mask, ["dicom-seg"], tmp_path / "m", options=options)
    assert pydicom.dcmread(tmp_path / "m.dcm").SegmentationType == "LABELMAP"
    back = read_labels(tmp_path / "m.dcm")
    assert np.array_equal(back.array, np.searchsorted([0, 1, 7], mask.labels))


def test_large_masks_leave_empty_frames_out(folder, tmp_path, monkeypatch):
    from napari_medurwkv.export import dicom_seg

    monkeypatch.setattr(dicom_seg, "FULL_BYTES", 0)
    mask = mask_of(read_image(folder))
    export_mask(mask, ["dicom-seg"], tmp_path / "m")
    assert int(pydicom.dcmread(tmp_path / "m.dcm").NumberOfFrames) == 4


def test_the_patient_is_kept_or_left_out(folder, tmp_path):
    mask = mask_of(read_image(folder))
    export_mask(mask, ["dicom-seg"], tmp_path / "known")
    seg = pydicom.dcmread(tmp_path / "known.dcm")
    assert str(seg.PatientName) == dicoms.PATIENT["PatientName"]
    options = ExportOptions(deidentify=True)
    export_mask(mask, ["dicom-seg"], tmp_path / "unknown", options=options)
    content = (tmp_path / "unknown.dcm").read_bytes()
    for value in dicoms.PATIENT.values():
        assert value.encode() not in content
    seg = pydicom.dcmread(tmp_path / "unknown.dcm")
    assert seg.PatientIdentityRemoved == "YES"
    back = read_labels(tmp_path / "unknown.dcm")
    assert np.array_equal(back.array > 0, mask.labels > 0)


def test_whatever_else_is_known_of_the_patient_is_left_out_too(tmp_path):
    secrets = {
        "AdditionalPatientHistory": "history-secret",
        "AdmittingDiagnosesDescription": "diagnosis-secret",
        "ClinicalTrialSiteName": "trial-secret",
        "MedicalAlerts": "alert-secret",
        "NameOfPhysiciansReadingStudy": "Reading^Secret",
        "Occupation": "job-secret",
        "PatientBirthTime": "031415",
        "PatientReligiousPreference": "belief-secret",
        "PhysiciansOfRecord": "Record^Secret",
        "ReasonForVisit": "visit-secret",
        "ResponsiblePerson": "Person^Secret",
        "ServiceEpisodeID": "episode-secret",
        "StudyDescription": "study-secret",
    }
    mask = mask_of(read_image(series(tmp_path / "ct", **secrets)))
    options = ExportOptions(deidentify=True)
    export_mask(mask, ["dicom-seg"], tmp_path / "m", options=options)
    content = (tmp_path / "m.dcm").read_bytes()
    for value in secrets.values():
        assert value.encode() not in content, value


def test_nothing_of_the_patient_goes_anywhere_else(
    folder, record, tmp_path, caplog, capfd
):
    out = tmp_path / "out"
    out.mkdir()
    named = folder.rename(tmp_path / "Mustermann^Erika MRN-0815")
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = read_image(named)
        mask = mask_of(image, record=record, changed=1, image=image.array)
        keys = ["nifti", "seg-nrrd", "tiff", "ome-tiff", "ome-zarr", "csv", "json"]
        keys += ["stl", "ply", "obj", "glb", "dicom-seg"]
        export_mask(mask, keys, out / "m", options=ExportOptions(deidentify=True))
    import gzip
    import zlib

    said = "".join(
        [caplog.text, *capfd.readouterr(), *(str(w.message) for w in caught)]
    )
    secrets = [value.encode() for value in dicoms.PATIENT.values()]
    for path in out.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            content += gzip.decompress(content)
        if path.name.endswith(".seg.nrrd"):
            content += zlib.decompress(content.split(b"\n\n", 1)[1], 31)
        for secret in secrets:
            assert secret not in content, (path.name, secret)
    for secret in secrets:
        assert secret.decode() not in said


def test_pictures_of_a_slice_are_anonymous(tmp_path):
    values = dicoms.numbers((1, 9, 7))
    folder = dicoms.write_series(tmp_path / "cr", values)
    image = read_image(folder)
    assert image.geometry.ndim == 2
    labels = np.ones(image.array.shape, np.uint8)
    labels[0] = 0
    mask = ExportMask(labels, image.geometry, CLASSES)
    keys = ["png", "png-indexed", "coco", "nifti", "dicom-seg"]
    options = ExportOptions(deidentify=True)
    done = export_mask(mask, keys, tmp_path / "m", options=options)
    for path in done.paths:
        for value in dicoms.PATIENT.values():
            assert value.encode() not in path.read_bytes(), path.name
    back = read_labels(tmp_path / "m.dcm")
    assert np.array_equal(np.squeeze(back.array), labels)
    coco = json.loads((tmp_path / "m_coco.json").read_text())
    assert coco["images"][0]["file_name"] == "m_coco.png"


def test_empty_masks_and_lost_images_get_a_sentence(folder, tmp_path):
    image = read_image(folder)
    empty = ExportMask(np.zeros(image.array.shape, np.uint8), image.geometry)
    with pytest.raises(OutputError, match="needs a segment"):
        export_mask(empty, ["dicom-seg"], tmp_path / "m")
    mask = mask_of(image)
    shutil.rmtree(folder)
    with pytest.raises(OutputError, match="not there any more"):
        export_mask(mask, ["dicom-seg"], tmp_path / "m")
    assert not list(tmp_path.glob("m*"))


def test_the_source_series_is_never_replaced(folder, tmp_path):
    mask = mask_of(read_image(folder))
    first = sorted(folder.iterdir())[0]
    before = first.read_bytes()
    with pytest.raises(OutputError, match="the image itself"):
        export_mask(mask, ["dicom-seg"], first.with_suffix(""), overwrite=True)
    assert first.read_bytes() == before


@pytest.mark.parametrize("kind", ["ct_abdomen_series", "enhanced_mr_multiframe.dcm"])
def test_real_images(shared_data, tmp_path, kind):
    image = read_image(shared_data / "dicom" / kind)
    mask = mask_of(image)
    for options in (ExportOptions(), ExportOptions(labelmap=True)):
        export_mask(
            mask, ["dicom-seg"], tmp_path / "m", options=options, overwrite=True
        )
        back = read_labels(tmp_path / "m.dcm")
        assert np.array_equal(back.array, np.searchsorted([0, 1, 7], mask.labels))
        np.testing.assert_allclose(
            back.geometry.affine, image.geometry.affine, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", ["6154", "rtdose.dcm", "chrH31.dcm"])
def test_dciodvfy_finds_no_error_in_masks_of_odd_images(tmp_path, name):
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    image = read_image(packaged(name))
    labels = np.zeros(image.array.shape, np.uint8)
    labels.reshape(-1)[3:9] = 1
    export_mask(ExportMask(labels, image.geometry), ["dicom-seg"], tmp_path / "m")
    answer = subprocess.run(
        [checker, "-new", tmp_path / "m.dcm"], capture_output=True, text=True
    )
    assert "Error" not in answer.stdout + answer.stderr


def test_dciodvfy_finds_no_error(folder, record, tmp_path):
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    for deidentify in (False, True):
        mask = replace_record(mask_of(read_image(folder)), record)
        export_mask(
            mask,
            ["dicom-seg"],
            tmp_path / "m",
            options=ExportOptions(deidentify=deidentify),
            overwrite=True,
        )
        answer = subprocess.run(
            [checker, "-new", tmp_path / "m.dcm"], capture_output=True, text=True
        )
        said = answer.stdout + answer.stderr
        assert "Error" not in said, said
        assert "Segmentation" in said


def replace_record(mask, record):
    return ExportMask(mask.labels, mask.geometry, CLASSES, record=record, changed=2)


def test_frames_of_a_multiframe_file_keep_their_order(shared_data, tmp_path):
    """The order of slices is not that of the frames in the file."""
    path = shared_data / "dicom" / "enhanced_mr_multiframe.dcm"
    image = read_image(path)
    dicom = image.geometry.source.dicom
    assert dicom.frames is not None
    mask = mask_of(image)
    export_mask(mask, ["dicom-seg"], tmp_path / "m")
    seg = pydicom.dcmread(tmp_path / "m.dcm")
    source = mask.geometry.to_source(mask.labels)
    lps = mask.geometry.lps_affine
    for frame, item in zip(
        seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True
    ):
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        index = np.linalg.solve(lps[:3, :3], position - lps[:3, 3])
        k = round(index[2])
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert np.array_equal(frame.T > 0, source[:, :, k] == (0, 1, 7)[number])


def packaged(name):
    """Return one of the files that come with pydicom."""
    root = Path(pydicom.__file__).parent / "data"
    return next(root.rglob(name))


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "6154", "chrGreek.dcm"])
def test_pictures_without_a_place_keep_rows_as_rows(tmp_path, name):
    image = read_image(packaged(name))
    assert image.geometry.kind != "patient"
    labels = np.zeros(image.array.shape[:2], np.uint8)
    labels[1:3, 4:9] = 1
    labels[10:13, 2:4] = 2
    export_mask(ExportMask(labels, image.geometry), ["dicom-seg"], tmp_path / "m")
    frames = pydicom.dcmread(tmp_path / "m.dcm").pixel_array
    assert np.array_equal(frames[0] > 0, labels == 1)
    assert np.array_equal(frames[1] > 0, labels == 2)
    back = read_labels(tmp_path / "m.dcm")
    assert np.array_equal(back.array, labels)
    assert back.geometry.kind == image.geometry.kind
    assert back.geometry.spacing == pytest.approx(image.geometry.spacing)


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_1frame.dcm"])
def test_dose_grids_lend_their_frames_places(tmp_path, name):
    image = read_image(packaged(name))
    labels = np.zeros(image.array.shape, np.uint8)
    labels.reshape(-1)[[3, 17, -2]] = 1
    export_mask(ExportMask(labels, image.geometry), ["dicom-seg"], tmp_path / "m")
    back = read_labels(tmp_path / "m.dcm")
    assert np.array_equal(back.array, labels)
    np.testing.assert_allclose(
        back.geometry.affine, image.geometry.affine, rtol=0, atol=1e-5
    )


def test_names_in_other_scripts_and_odd_times(tmp_path):
    for name in ("chrGreek.dcm", "chrH31.dcm", "chrX1.dcm", "ExplVR_BigEnd.dcm"):
        source = packaged(name)
        image = read_image(source)
        labels = np.ones(image.array.shape[: image.geometry.ndim], np.uint8)
        export_mask(
            ExportMask(labels, image.geometry),
            ["dicom-seg"],
            tmp_path / "m",
            overwrite=True,
        )
        told = pydicom.dcmread(tmp_path / "m.dcm")
        expected = pydicom.dcmread(source)
        assert str(told.PatientName) == str(expected.get("PatientName", "")), name
    assert expected.StudyTime == "14:04:38"
    assert told.StudyTime == "140438"


def test_images_that_break_the_rules_get_a_sentence(tmp_path):
    image = read_image(packaged("liver_1frame.dcm"))
    labels = np.ones(image.array.shape, np.uint8)
    with pytest.raises(OutputError, match="cannot refer to"):
        export_mask(ExportMask(labels, image.geometry), ["dicom-seg"], tmp_path / "m")
    assert not list(tmp_path.iterdir())
