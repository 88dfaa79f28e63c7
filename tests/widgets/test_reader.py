"""Images open upright, in millimetres, and with their geometry."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image

from napari_medurwkv.errors import (
    ApproximateGeometryError,
    ImageError,
    SeriesChoiceError,
)
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.widgets import open_questions
from napari_medurwkv.widgets.reader import get_reader, open_layers, read_layers

_spec = importlib.util.spec_from_file_location(
    "dicoms", Path(__file__).parents[1] / "io/dicoms.py"
)
dicoms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dicoms)


def save(path, values, affine=None):
    affine = np.diag([-1.0, 2, 3, 1]) if affine is None else affine
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_plane_is_shown_where_it_lies(tmp_path, suffix):
    import SimpleITK as sitk

    values = np.arange(30, dtype=np.uint16).reshape(5, 6)
    plane = sitk.GetImageFromArray(values)
    plane.SetSpacing((0.5, 0.25))
    plane.SetOrigin((10, 20))
    plane.SetDirection((-1, 0, 0, 1))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(plane, str(path))
    [(data, options, kind)] = read_layers(str(path))
    assert kind == "image"
    # Columns run to the right in the file and to the left on the screen.
    np.testing.assert_array_equal(data, values[:, ::-1])
    assert options["scale"] == pytest.approx((0.25, 0.5))
    assert options["translate"] == pytest.approx((20, 10 - 5 * 0.5))
    assert options["units"] == ["mm", "mm"]
    block = options["metadata"]["medurwkv"]
    assert block["geometry"]["assumed"] == (suffix == ".nrrd")


def test_takes_medical_files_and_nothing_else(tmp_path):
    for name in ("a.nii", "a.seg.nrrd", "a.mha", "a.mgz", "a.DCM"):
        assert get_reader(name) is open_layers
    assert get_reader(["a.NII.GZ", "b.nii"]) is open_layers
    assert get_reader("a.png") is None
    assert get_reader(["a.nii", "b.png"]) is None
    assert get_reader(str(tmp_path)) is None
    dicoms.write_series(tmp_path / "deep/down")
    assert get_reader(str(tmp_path)) is open_layers


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


def mask_with_names(tmp_path):
    values = np.zeros((4, 5, 6), np.uint8)
    values[1, 2, 3], values[2, 2, 2] = 1, 9
    labels = [{"value": 1, "name": "Liver", "color": "#ff0000", "code": "SCT^1^L"}]
    (tmp_path / "m.json").write_text(json.dumps({"labels": labels}))
    return save(tmp_path / "m.nii.gz", values)


def test_mask_becomes_labels_with_names_and_colours(tmp_path):
    from napari.layers import Labels

    ((data, options, kind),) = read_layers(mask_with_names(tmp_path))
    assert kind == "labels"
    layer = Labels(data, **options)
    np.testing.assert_allclose(layer.get_color(1), (1, 0, 0, 1))
    np.testing.assert_allclose(layer.get_color(9), (1, 1, 1, 1))  # seen, though unnamed
    assert layer.get_color(0) is None or layer.get_color(0)[3] == 0
    assert list(layer.features["name"]) == ["background", "Liver"]
    (entry,) = layer.metadata["medurwkv"]["classes"]
    assert entry["type"] == {"scheme": "SCT", "value": "1", "meaning": "L"}
    from napari_medurwkv.checkpoints import ClassInfo

    assert ClassInfo(**entry).name == "Liver"


def test_napari_opens_masks_and_volumes_through_the_manifest(tmp_path, npe2pm):
    from napari.components import ViewerModel
    from npe2 import PluginManifest

    import napari_medurwkv

    manifest = Path(napari_medurwkv.__file__).with_name("napari.yaml")
    npe2pm.register(PluginManifest.from_file(manifest))
    viewer = ViewerModel()
    folder = dicoms.write_series(tmp_path / "ct")
    viewer.open(mask_with_names(tmp_path), plugin="napari-medurwkv")
    viewer.open(str(folder), plugin="napari-medurwkv")
    mask, image = viewer.layers
    assert type(mask).__name__ == "Labels"
    assert image.data.shape == dicoms.SHAPE
    np.testing.assert_allclose(image.scale, dicoms.SPACING)


def two_series(tmp_path):
    dicoms.write_series(tmp_path)
    dicoms.write_series(tmp_path, dicoms.numbers((3, 7, 8)), series="1.2.5")
    return str(tmp_path)


def tilted(tmp_path):
    places = dicoms.positions(step=(0, 0.6, 2))
    return str(dicoms.write_series(tmp_path, places=places))


def test_without_a_window_the_error_says_what_to_choose(tmp_path, monkeypatch):
    monkeypatch.setattr(open_questions, "can_ask", lambda: False)
    with pytest.raises(SeriesChoiceError):
        open_layers(two_series(tmp_path / "a"))
    with pytest.raises(ApproximateGeometryError):
        open_layers(tilted(tmp_path / "b"))


def test_the_user_chooses_series(tmp_path, monkeypatch):
    monkeypatch.setattr(open_questions, "can_ask", lambda: True)
    monkeypatch.setattr(open_questions, "choose_series", lambda error: (1, 2))
    layers = open_layers(two_series(tmp_path))
    assert [data.shape for data, _, _ in layers] == [(4, 5, 6), (3, 7, 8)]
    monkeypatch.setattr(open_questions, "choose_series", lambda error: ())
    assert open_layers(two_series(tmp_path)) == [(None,)]


def test_the_user_takes_approximate_geometry(tmp_path, monkeypatch):
    path = tilted(tmp_path)
    monkeypatch.setattr(open_questions, "can_ask", lambda: True)
    monkeypatch.setattr(open_questions, "take_approximate", lambda error: True)
    ((_, options, _),) = open_layers(path)
    assert options["name"].endswith("(approximate)")
    block = options["metadata"]["medurwkv"]
    assert "tilt" in Geometry.from_json(block["geometry"]).approximate
    assert any("approximate" in note for note in block["notes"])
    monkeypatch.setattr(open_questions, "take_approximate", lambda error: False)
    assert open_layers(path) == [(None,)]


def test_frames_of_a_dicom_series(tmp_path):
    for part in (1, 2):
        dicoms.write_series(
            tmp_path / f"{part}",
            dicoms.numbers() + part,
            TemporalPositionIdentifier=part,
        )
    ((data, options, _),) = read_layers(str(tmp_path))
    assert data.shape == (2, *dicoms.SHAPE)
    assert options["axis_labels"] == ("t", "z", "y", "x")
    np.testing.assert_array_equal(data[1], data[0] + 1)


def test_series_of_masks_is_one_layer(tmp_path):
    values = np.zeros((4, 5, 6, 3), np.uint8)
    values[1, 2, 3, 2] = 5
    image = nib.Nifti1Image(values, np.diag([-1.0, 2, 3, 1]))
    image.header.set_intent("label")
    nib.save(image, tmp_path / "m.nii")
    ((data, options, kind),) = read_layers(str(tmp_path / "m.nii"))
    assert kind == "labels"
    assert data.shape == (3, 6, 5, 4)
    assert data[2].max() == 5
    assert len(options["scale"]) == 4
    source = options["metadata"]["medurwkv"]["geometry"]["source"]
    assert source["frame"] is None


def test_overlapping_segments_are_layers_of_their_own(tmp_path):
    header = (
        "NRRD0004\ntype: uchar\ndimension: 4\nspace: left-posterior-superior\n"
        "sizes: 2 3 4 5\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\n"
        "kinds: list domain domain domain\nencoding: raw\nspace origin: (0,0,0)\n"
    )
    for number, name in enumerate(("liver", "lesion")):
        header += f"Segment{number}_ID:=s{number}\nSegment{number}_Name:={name}\n"
        header += f"Segment{number}_LabelValue:=1\nSegment{number}_Layer:={number}\n"
    values = np.zeros((5, 4, 3, 2), np.uint8)
    values[1:3, 1, 1, 0] = values[2:4, 1, 1, 1] = 1
    path = tmp_path / "a.seg.nrrd"
    path.write_bytes(f"{header}\n".encode() + values.tobytes())
    liver, lesion = read_layers(str(path))
    assert list(liver[1]["features"]["name"]) == ["background", "liver"]
    assert list(lesion[1]["features"]["name"]) == ["background", "lesion"]
    np.testing.assert_array_equal(lesion[0], values[..., 1])


def test_all_slices_opened_as_a_stack_are_their_series(tmp_path):
    folder = dicoms.write_series(tmp_path)
    files = [str(file) for file in sorted(folder.iterdir())]
    ((data, _, _),) = open_layers(files)
    assert data.shape == dicoms.SHAPE
    # Some of them are what was asked for, one by one.
    assert [data.shape for data, _, _ in open_layers(files[:2])] == [(5, 6), (5, 6)]


def test_an_image_larger_than_memory_becomes_a_lazy_layer(tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    from napari_medurwkv.io import zarr_image

    group = zarr.open_group(tmp_path / "slide.zarr", mode="w", zarr_format=2)
    for level in (0, 1):
        shape = (64 >> level, 48 >> level)
        group.create_array(str(level), shape=shape, dtype="u1", chunks=(16, 16))
    scale = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [0.5 * 2**level] * 2}
            ],
        }
        for level in (0, 1)
    ]
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": scale}]
    monkeypatch.setattr(zarr_image, "_is_large", lambda found: True)
    ((data, options, kind),) = read_layers(str(tmp_path / "slide.zarr"))
    assert kind == "image"
    assert [level.shape for level in data] == [(64, 48), (32, 24)]
    layer = Image(data, **options)
    assert layer.multiscale
    assert layer.scale.tolist() == [0.5, 0.5]
