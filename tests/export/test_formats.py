"""Every format comes back as it was meant, all of them are written or none."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Pictures

from napari_medurwkv.cli.targets import check_target
from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.export import (
    FORMATS,
    ExportMask,
    ExportOptions,
    export_mask,
    find_format,
    format_of_name,
    planned_paths,
    with_spacing,
    without_ending,
)
from napari_medurwkv.export.mask import class_infos
from napari_medurwkv.export.terms import KNOWN, segment_terms
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io import LabelName, read_labels

from .conftest import CLASSES, oblique

VOLUME_KEYS = [f.key for f in FORMATS if 3 in f.dimensions and f.key != "dicom-seg"]
PLANE_KEYS = [f.key for f in FORMATS if 2 in f.dimensions and f.key != "dicom-seg"]


def world_of(image):
    """Index to RAS as SimpleITK places it."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = direction * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def test_volumes_in_all_formats_at_once(mask, tmp_path):
    done = export_mask(mask, VOLUME_KEYS, tmp_path / "case")
    names = {path.name for path in done.paths}
    planned = planned_paths(
        mask.geometry, [find_format(key) for key in VOLUME_KEYS], tmp_path / "case"
    )
    assert {p.name for p in planned if "VALUE_NAME" not in p.name} <= names
    assert {"case_1_Liver.stl", "case_7_odd_thing.ply"} <= names
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(path.exists() for path in done.paths)


@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd"])
def test_volumes_keep_every_voxel_in_its_place(mask, tmp_path, ending):
    key = format_of_name(f"a{ending}")[0].key
    export_mask(mask, [key], tmp_path / "a")
    path = tmp_path / f"a{ending}"
    source = mask.geometry.to_source(mask.labels)
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, source)
    np.testing.assert_allclose(world_of(image), oblique(), atol=1e-4)
    back = read_labels(path)
    assert np.array_equal(back.array, mask.labels)
    np.testing.assert_allclose(back.geometry.affine, oblique(), atol=1e-4)


def test_names_and_colours_come_back(mask, tmp_path):
    export_mask(mask, ["nifti", "seg-nrrd"], tmp_path / "a")
    for name in ("a.nii.gz", "a.seg.nrrd"):
        found = {
            c.value: (c.name, c.color) for c in read_labels(tmp_path / name).classes
        }
        assert found == {
            1: ("Liver", "#ff8000"),
            7: ("odd; thing", "#0080ff"),
            9: ("absent", "#123456"),
        }, name
    (tmp_path / "a.json").unlink()
    names = {c.name for c in read_labels(tmp_path / "a.nii.gz").classes}
    assert names == {"Liver", "odd; thing", "absent"}  # from ITK-SNAP's file


def test_terms_of_slicer(mask, tmp_path):
    export_mask(mask, ["seg-nrrd"], tmp_path / "a")
    header = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "Segment0_LabelValue:=1" in header
    assert "Segment0_Color:=1 0.501961 0" in header
    assert "~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~" in header
    assert "~SCT^49755003^Morphologically Altered~SCT^108369006^Neoplasm~" in header
    assert "~SCT^85756007^Tissue~SCT^85756007^Tissue~" in header
    assert "space: left-posterior-superior" in header


def test_equal_masks_are_equal_files(mask, tmp_path):
    keys = ["nifti", "seg-nrrd", "tiff", "stl", "ply", "obj", "csv"]
    for name in ("a", "b"):
        export_mask(mask, keys, tmp_path / name)
    for path in tmp_path.glob("a*"):
        assert path.read_bytes() == (tmp_path / f"b{path.name[1:]}").read_bytes()


def test_nifti_says_label_and_nothing_of_a_patient(mask, tmp_path):
    export_mask(mask, ["nifti"], tmp_path / "a")
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.header.get_intent()[0] == "label"
    assert image.get_data_dtype() == np.uint8
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        assert not bytes(image.header[field].item()).strip(b"\0"), field
    assert not image.header.extensions


def test_codes_that_pydicom_knows():
    from pydicom.sr.codedict import codes

    names = {
        "aorta": codes.SCT.Aorta,
        "brain": codes.SCT.Brain,
        "bladder": codes.SCT.Bladder,
        "colon": codes.SCT.Colon,
        "duodenum": codes.SCT.Duodenum,
        "esophagus": codes.SCT.Esophagus,
        "gallbladder": codes.SCT.Gallbladder,
        "heart": codes.SCT.Heart,
        "kidney": codes.SCT.Kidney,
        "lesion": codes.SCT.Lesion,
        "liver": codes.SCT.Liver,
        "lung": codes.SCT.Lung,
        "pancreas": codes.SCT.Pancreas,
        "prostate": codes.SCT.Prostate,
        "spinal cord": codes.SCT.SpinalCord,
        "spleen": codes.SCT.Spleen,
        "stomach": codes.SCT.Stomach,
        "trachea": codes.SCT.Trachea,
        "tumor": codes.SCT.Neoplasm,
    }
    for name, code in names.items():
        assert KNOWN[name][1].value == code.value, name
    assert len(KNOWN) == len(names) + 2  # tumour, urinary bladder


def test_a_type_without_a_category_is_anatomy():
    (info,) = class_infos([LabelName(3, "Lobe", "#010203", "SCT^90572001^Lower lobe")])
    category, type_ = segment_terms(info)
    assert category.meaning == "Anatomical Structure"
    assert type_.value == "90572001"
    (info,) = class_infos([LabelName(3, "Mass", "#010203", "SCT^108369006^Neoplasm")])
    assert segment_terms(info)[0].meaning == "Morphologically Altered Structure"


class TestPlanes:
    def test_all_formats_at_once(self, plane, tmp_path):
        done = export_mask(plane, PLANE_KEYS, tmp_path / "p")
        assert {"p.png", "p_indexed.png", "p.tif", "p_coco.json", "p.json"} <= {
            path.name for path in done.paths
        }
        for name in ("p.png", "p_indexed.png", "p.tif", "p.ome.tif", "p.nii.gz"):
            back = read_labels(tmp_path / name)
            assert np.array_equal(np.squeeze(back.array), plane.labels), name

    def test_colours_of_the_palette(self, plane, tmp_path):
        export_mask(plane, ["png-indexed"], tmp_path / "p")
        picture = Pictures.open(tmp_path / "p_indexed.png")
        assert picture.mode == "P"
        assert picture.convert("RGB").getpixel((4, 3)) == (255, 128, 0)

    # pycocotools 2.0.11 has not heard of numpy 2's rules.
    @pytest.mark.filterwarnings("ignore:__array__ implementation")
    def test_coco_is_what_cocos_own_program_reads(self, plane, tmp_path):
        from pycocotools.coco import COCO

        export_mask(plane, ["coco"], tmp_path / "p")
        coco = COCO(tmp_path / "p_coco.json")
        names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
        assert names == {1: "Liver", 7: "odd; thing", 9: "absent"}
        together = np.zeros_like(plane.labels)
        for note in coco.loadAnns(coco.getAnnIds()):
            inside = coco.annToMask(note)
            together[inside > 0] = note["category_id"]
            x, y, w, h = note["bbox"]
            assert inside.sum() == inside[y : y + h, x : x + w].sum() == note["area"]
        assert np.array_equal(together, plane.labels)

    def test_coco_of_objects(self, plane, tmp_path):
        labels = plane.labels.astype(np.int32) * 100_000
        objects = ExportMask(labels, plane.geometry, CLASSES[:2], instances=True)
        export_mask(objects, ["coco"], tmp_path / "p")
        document = json.loads((tmp_path / "p_coco.json").read_text())
        assert [c["name"] for c in document["categories"]] == ["Liver"]
        assert [a["category_id"] for a in document["annotations"]] == [1, 1]
        assert [a["value"] for a in document["annotations"]] == [100_000, 700_000]

    def test_full_and_empty_runs(self):
        from napari_medurwkv.export.coco import run_lengths

        assert run_lengths(np.ones((2, 3), bool))["counts"] == [0, 6]
        assert run_lengths(np.zeros((2, 3), bool))["counts"] == [6]
        corner = np.zeros((2, 3), bool)
        corner[1, 2] = True
        assert run_lengths(corner)["counts"] == [5, 1]


class TestZarr:
    def test_levels_names_and_sizes(self, labels, geometry, tmp_path):
        import zarr

        big = np.zeros((5, 300, 260), np.uint8)
        big[:, 50:90, 40:80] = 7
        mask = ExportMask(big, Geometry.plain(big.shape, (2, 0.5, 0.5), "mm"), CLASSES)
        export_mask(mask, ["ome-zarr"], tmp_path / "z")
        group = zarr.open_group(tmp_path / "z.ome.zarr", mode="r")
        (scales,) = group.attrs["multiscales"]
        assert [a["unit"] for a in scales["axes"]] == ["millimeter"] * 3
        assert [d["path"] for d in scales["datasets"]] == ["0", "1", "2"]
        assert np.array_equal(group["0"][...], big)
        assert group["1"].shape == (5, 150, 130)
        second = scales["datasets"][1]["coordinateTransformations"][0]["scale"]
        assert second == [2.0, 1.0, 1.0]
        colors = group.attrs["image-label"]["colors"]
        assert {"label-value": 7, "rgba": [0, 128, 255, 255]} in colors
        assert (tmp_path / "z.ome.zarr" / "0" / "0" / "0" / "0").exists()

    def test_an_old_folder_is_replaced_as_a_whole(self, mask, tmp_path):
        export_mask(mask, ["ome-zarr"], tmp_path / "z")
        (tmp_path / "z.ome.zarr" / "left over").write_text("old")
        with pytest.raises(OutputError, match="exists already"):
            export_mask(mask, ["ome-zarr"], tmp_path / "z")
        export_mask(mask, ["ome-zarr"], tmp_path / "z", overwrite=True)
        assert not (tmp_path / "z.ome.zarr" / "left over").exists()
        assert {p.name for p in tmp_path.iterdir()} == {"z.ome.zarr", "z.json"}


class TestSurfaces:
    @pytest.mark.parametrize("ending", [".stl", ".ply", ".obj", ".glb"])
    @pytest.mark.parametrize("space", ["LPS", "RAS"])
    def test_lie_in_the_world(self, mask, tmp_path, ending, space):
        import trimesh

        options = ExportOptions(space=space)
        done = export_mask(mask, [ending[1:]], tmp_path / "s", options=options)
        scene = trimesh.Scene()
        for path in done.paths[:-1]:
            loaded = trimesh.load_scene(path)
            for whole in loaded.geometry.values():
                # trimesh joins the objects of an OBJ file.
                for part in whole.split() if ending == ".obj" else [whole]:
                    scene.add_geometry(part)
        assert len(scene.geometry) == 2
        source = mask.geometry.to_source(mask.labels)
        sign = np.diag([-1, -1, 1]) if space == "LPS" else np.eye(3)
        boxes = []
        for value in (1, 7):
            index = np.argwhere(source == value)
            world = (index @ oblique()[:3, :3].T + oblique()[:3, 3]) @ sign
            boxes.append((world.mean(axis=0), len(index)))
        voxel = mask.geometry.voxel_volume
        parts = sorted(scene.geometry.values(), key=lambda m: -m.volume)
        for mesh, (centre, count) in zip(parts, boxes, strict=True):
            assert mesh.is_watertight
            # Outward, whatever the handedness; corners are cut off.
            assert 0.6 * count * voxel < mesh.volume < count * voxel
            np.testing.assert_allclose(mesh.center_mass, centre, atol=0.05)

    def test_say_which_world(self, mask, tmp_path):
        export_mask(mask, ["stl", "ply", "obj"], tmp_path / "s")
        for name in ("s_1_Liver.stl", "s_1_Liver.ply", "s.obj"):
            assert b"SPACE=LPS" in (tmp_path / name).read_bytes()[:200], name

    def test_scenes_have_names_and_colours(self, mask, tmp_path):
        import trimesh

        export_mask(mask, ["glb"], tmp_path / "s")
        scene = trimesh.load_scene(tmp_path / "s.glb")
        assert set(scene.geometry) == {"1 Liver", "7 odd; thing"}
        material = scene.geometry["1 Liver"].visual.material
        assert list(material.baseColorFactor[:3]) == [255, 128, 0]

    def test_an_empty_mask_has_none(self, geometry, tmp_path):
        empty = np.zeros(geometry.display_shape, np.uint8)
        with pytest.raises(OutputError, match="empty"):
            export_mask(ExportMask(empty, geometry), ["stl"], tmp_path / "s")


class TestTables:
    def test_numbers_with_units(self, mask, tmp_path):
        grey = np.asarray(mask.labels).astype(np.float32) * 2 + 5
        export_mask(replace_image(mask, grey), ["csv", "json"], tmp_path / "m")
        rows = read_table(tmp_path / "m_measurements.csv")
        assert [row["name"] for row in rows] == ["Liver", "odd; thing", "absent"]
        liver, thing, absent = rows
        size = 5 * 6 * 4 * mask.geometry.voxel_volume
        assert float(liver["volume_mm3"]) == pytest.approx(size)
        assert float(liver["volume_ml"]) == pytest.approx(size / 1000)
        assert float(thing["intensity_mean"]) == 19
        assert absent["intensity_mean"] == ""
        assert liver["geometry"] == "known"
        slices = read_table(tmp_path / "m_slices.csv")
        assert {row["value"] for row in slices} == {"1", "7"}
        document = json.loads((tmp_path / "m_measurements.json").read_text())
        found = document["structures"][0]
        assert found["max_diameter_mm"] == float(liver["max_diameter_mm"])
        assert len(found["slice_area_mm2"]) == found["slices"] == 4

    def test_planes_have_areas(self, plane, tmp_path):
        export_mask(plane, ["csv"], tmp_path / "m")
        header = (tmp_path / "m_measurements.csv").read_text().splitlines()[0]
        assert "area_px2" in header
        assert not (tmp_path / "m_slices.csv").exists()


def read_table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def replace_image(mask, image):
    return ExportMask(mask.labels, mask.geometry, mask.classes, image=image)


def test_all_or_nothing(mask, tmp_path, monkeypatch):
    """Where one of the files fails, every old one is as it was."""
    from napari_medurwkv.export import surface

    export_mask(mask, ["nifti", "seg-nrrd"], tmp_path / "a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = ExportMask(np.zeros_like(mask.labels) + 1, mask.geometry, CLASSES)
    monkeypatch.setattr(surface, "_as_meant", lambda path, parts: False)
    with pytest.raises(OutputError, match="did not come back"):
        export_mask(other, ["nifti", "seg-nrrd", "stl"], tmp_path / "a", overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_approximate_geometry_stays_marked(labels, tmp_path):
    geometry = Geometry.from_affine(
        oblique(), (14, 11, 9), approximate="2 slices are missing"
    )
    mask = ExportMask(labels, geometry, CLASSES)
    keys = ["nifti", "seg-nrrd", "ome-zarr", "csv", "json"]
    done = export_mask(mask, keys, tmp_path / "a")
    assert any("2 slices are missing" in note for note in done.notes)
    header = nib.load(tmp_path / "a.nii.gz").header
    assert header["descrip"].item() == b"geometry approximate"
    for name in (
        "a.seg.nrrd",
        "a.json",
        "a_measurements.csv",
        "a_measurements.json",
        "a.ome.zarr/.zattrs",
    ):
        assert b"2 slices are missing" in (tmp_path / name).read_bytes(), name
    # Read again and written again, the doubt is still there.
    for name in ("a.nii.gz", "a.seg.nrrd"):
        again = read_labels(tmp_path / name)
        assert "approximate" in again.geometry.describe(), name
        given = ExportMask(again.array, again.geometry)
        export_mask(given, ["nifti", "csv"], tmp_path / "b", overwrite=True)
        header = nib.load(tmp_path / "b.nii.gz").header
        assert header["descrip"].item() == b"geometry approximate"
        assert ",approximate: " in (tmp_path / "b_measurements.csv").read_text()


def test_unknown_sizes_can_be_stated(tmp_path):
    geometry = Geometry.plain((3, 4, 5), ornt=((0, 1), (1, -1), (2, 1)))
    sized = with_spacing(geometry, (2, 0.5, 0.25))
    assert sized.display_spacing == (2, 0.5, 0.25)
    assert (sized.kind, sized.unit, sized.assumed) == ("pixel-size-only", "mm", True)
    assert sized.ornt == geometry.ornt
    with pytest.raises(GeometryError, match="positive"):
        with_spacing(geometry, (2, 0))
    with pytest.raises(GeometryError, match="states"):
        with_spacing(sized, (1, 1, 1))


def test_what_does_not_fit_is_said(mask, plane, tmp_path):
    for given, key, sentence in (
        (mask, "png", "planes"),
        (mask, "coco", "planes"),
        (plane, "stl", "volumes"),
        (mask, "dicom-seg", "DICOM images"),
    ):
        assert sentence in find_format(key).unfit(given.geometry)
        with pytest.raises(OutputError, match=sentence):
            export_mask(given, [key], tmp_path / "a")
    with pytest.raises(OutputError, match="no format xyz"):
        export_mask(mask, ["xyz"], tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_the_image_is_never_replaced(mask, tmp_path):
    image = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((14, 11, 9), np.uint8), oblique()), image)
    geometry = replace(mask.geometry, source=SourceInfo("array", str(image)))
    before = image.read_bytes()
    with pytest.raises(OutputError, match="the image itself"):
        export_mask(
            ExportMask(mask.labels, geometry), ["nifti"], tmp_path / "a", overwrite=True
        )
    assert image.read_bytes() == before


def test_foreign_json_is_not_replaced(mask, tmp_path):
    (tmp_path / "a.json").write_text('{"Manufacturer": "Siemens"}')
    with pytest.raises(OutputError, match="no record"):
        export_mask(mask, ["nifti"], tmp_path / "a", overwrite=True)
    assert not (tmp_path / "a.nii.gz").exists()


def test_who_made_it(mask, record):
    def made(record, changed):
        given = ExportMask(
            mask.labels, mask.geometry, CLASSES, record=record, changed=changed
        )
        return given.made_by

    assert made(None, None) == "MANUAL"
    assert made(record, 0) == "AUTOMATIC"
    assert made(record, 3) == made(record, None) == "SEMIAUTOMATIC"


def test_the_record_tells_labels_and_edits(mask, record, tmp_path):
    given = ExportMask(mask.labels, mask.geometry, CLASSES, record=record, changed=4)
    export_mask(given, ["nifti"], tmp_path / "a")
    fields = json.loads((tmp_path / "a.json").read_text())
    assert fields["kind"] == "napari-medurwkv run"
    assert fields["parameters"]["changed_voxels"] == 4
    assert fields["labels"][0] == {
        "value": 1,
        "name": "Liver",
        "color": "#ff8000",
        "code": "SCT^10200004^Liver",
        "category": "SCT^123037004^Anatomical Structure",
    }


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii.gz", "a"),
        ("a.b.seg.nrrd", "a.b"),
        ("a", "a"),
        ("v1.2", "v1.2"),
        ("x.OME.TIF", "x"),
        (".png", ".png"),
    ],
)
def test_names_without_endings(name, stem):
    assert without_ending(name) == stem


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_names_that_no_file_can_have_get_a_sentence(mask, tmp_path, name):
    with pytest.raises(OutputError, match="choose another"):
        export_mask(mask, ["nifti"], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_so_before_the_work(tmp_path):
    with pytest.raises(OutputError, match="no name that a file can have"):
        check_target(tmp_path / ("a" * 300), overwrite=False)
