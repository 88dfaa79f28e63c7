"""Layers of other readers: known by their values, assumed by their scale."""

from __future__ import annotations

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_medurwkv.errors import GeometryError, ImageError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import (
    METADATA_KEY,
    geometry_from_layer_transform,
    image_from_layer,
    layer_metadata,
    read_image,
    write_labels,
)

TURNS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
AFFINE = np.array(
    [[0, 0.1, 3.0, 5], [-0.75, 0, 0, 7], [0, -0.75, 0.4, -9], [0, 0, 0, 1.0]]
)


def turned(array, axes, signs):
    view = array.transpose(axes)
    return view[tuple(slice(None, None, sign) for sign in signs)]


@pytest.fixture
def cube(save_nifti):
    """A file whose axes cannot be told apart by their lengths."""
    array = np.random.default_rng(0).integers(0, 900, (6, 6, 6)).astype(np.int16)
    return save_nifti(array, AFFINE), array


class TestOurOwnLayers:
    def test_they_are_the_display_order_of_their_file(self, cube):
        image = read_image(cube[0])
        metadata = json.loads(json.dumps(layer_metadata(image.geometry)))
        found = geometry_from_layer_transform(
            image.array.shape, (9, 9, 9), metadata={"other": 1, **metadata}
        )
        assert found.known
        assert found.origin == "from the file"
        assert found.file_geometry == image.geometry == found.export_geometry
        assert found.geometry.ornt == ((0, 1), (1, 1), (2, 1))
        np.testing.assert_array_equal(
            found.geometry.affine, image.geometry.display_affine
        )
        assert found.geometry.display_spacing == image.geometry.display_spacing
        np.testing.assert_array_equal(found.to_file(image.array), cube[1])
        again = image_from_layer(found, image.array, rgb=False, name="layer")
        np.testing.assert_array_equal(again.array, image.array)
        assert again.geometry == image.geometry
        assert again.name == "layer"

    def test_pictures_of_ours_are_assumed(self, tmp_path):
        path = tmp_path / "a.png"
        Pillow.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path)
        image = read_image(path)
        found = geometry_from_layer_transform(
            (3, 4), metadata=layer_metadata(image.geometry)
        )
        assert not found.known
        assert found.origin == "assumed"
        assert found.export_geometry == image.geometry

    def test_a_cropped_layer_is_refused(self, cube):
        metadata = layer_metadata(read_image(cube[0]).geometry)
        with pytest.raises(GeometryError, match=r"shape \(6, 6, 5\).*cropped"):
            geometry_from_layer_transform((6, 6, 5), metadata=metadata)

    @pytest.mark.parametrize("block", [7, {}, {"geometry": {}}, {"geometry": None}])
    def test_damaged_metadata_are_refused(self, block):
        with pytest.raises(GeometryError, match="damaged"):
            geometry_from_layer_transform((3, 4), metadata={METADATA_KEY: block})


class TestLayersOfOtherReaders:
    @pytest.mark.parametrize(("axes", "signs"), TURNS)
    def test_a_layer_is_found_in_its_file_however_it_was_turned(
        self, axes, signs, cube, tmp_path
    ):
        path, array = cube
        layer = turned(array, axes, signs)
        found = geometry_from_layer_transform(
            layer.shape, (-1, -2, -3), source_path=path, data=layer
        )
        assert found.known
        assert found.origin == "from the file"
        assert found.notes == ()
        image = read_image(path)
        np.testing.assert_array_equal(found.geometry.to_display(layer), image.array)
        np.testing.assert_array_equal(found.to_file(layer), array)
        np.testing.assert_allclose(
            found.geometry.display_affine, image.geometry.display_affine, atol=1e-12
        )
        # A mask made in display order goes back onto the layer and into the file.
        shown = image_from_layer(found, layer, rgb=False, name="x").array
        mask = (shown > 450).astype(np.uint8)
        np.testing.assert_array_equal(found.geometry.to_source(mask), layer > 450)
        out = write_labels(tmp_path / "mask.nii.gz", mask, found.export_geometry)
        np.testing.assert_array_equal(np.asarray(nib.load(out).dataobj), array > 450)
        np.testing.assert_array_equal(nib.load(out).affine, nib.load(path).affine)

    def test_scaled_values_are_found_in_another_type(self, save_nifti):
        array = np.random.default_rng(0).integers(0, 200, (4, 5, 6)).astype(np.uint8)
        path = save_nifti(array, name="i.nii")
        data = bytearray(path.read_bytes())
        header = nib.Nifti1Header(bytes(data[:348]))
        header["scl_slope"], header["scl_inter"] = 0.0123, -7
        data[:348] = header.binaryblock
        path.write_bytes(data)
        layer = nib.load(path).get_fdata().transpose(2, 1, 0)
        found = geometry_from_layer_transform(layer.shape, source_path=path, data=layer)
        assert found.known

    def test_holes_of_nan_are_no_difference(self, save_nifti):
        array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
        array[2:] = np.nan
        found = geometry_from_layer_transform(
            (6, 5, 4), source_path=save_nifti(array), data=array.T
        )
        assert found.known
        image = image_from_layer(found, array.T, rgb=False, name="x")
        assert np.isfinite(image.array).all()
        assert "NaN" in image.notes[0]

    def test_a_layer_with_other_values_is_not_believed(self, cube):
        path, array = cube
        layer = array.copy()
        layer[3, 3, 3] += 1
        found = geometry_from_layer_transform(
            layer.shape, (2, 1, 1), source_path=path, data=layer
        )
        assert not found.known
        assert found.file_geometry is None
        assert found.origin == "from the layer's scale"
        assert "holds other values than its file" in found.notes[0]
        with pytest.raises(GeometryError, match="not known to lie in any file"):
            found.to_file(layer)

    def test_a_symmetric_image_cannot_be_told(self, save_nifti):
        path = save_nifti(np.ones((6, 6, 6), np.uint8))
        found = geometry_from_layer_transform(
            (6, 6, 6), source_path=path, data=np.ones((6, 6, 6))
        )
        assert not found.known
        assert "is symmetric" in found.notes[0]

    def test_without_data_a_file_is_not_believed(self, cube):
        found = geometry_from_layer_transform((6, 6, 6), source_path=cube[0])
        assert not found.known
        assert found.file_geometry is None

    def test_a_cropped_layer_is_assumed(self, cube):
        path, array = cube
        found = geometry_from_layer_transform(
            (6, 6, 4), source_path=path, data=array[..., 1:5]
        )
        assert not found.known

    def test_a_file_that_is_gone_is_told(self, tmp_path):
        found = geometry_from_layer_transform(
            (3, 4), source_path=tmp_path / "gone.nii", data=np.ones((3, 4))
        )
        assert not found.known
        assert "does not exist" in found.notes[0]

    def test_a_stored_plane(self, save_nifti):
        array = np.random.default_rng(0).normal(size=(7, 1, 5)).astype(np.float32)
        path = save_nifti(array)
        layer = array[:, 0, ::-1].T
        found = geometry_from_layer_transform((5, 7), source_path=path, data=layer)
        assert found.known
        np.testing.assert_array_equal(found.to_file(layer), array[:, 0])


class TestPictures:
    def test_colour_with_alpha(self, tmp_path):
        colour = np.random.default_rng(0).integers(0, 255, (9, 8, 4)).astype(np.uint8)
        path = tmp_path / "a.png"
        Pillow.fromarray(colour).save(path)
        found = geometry_from_layer_transform((9, 8), source_path=path, data=colour)
        assert found.file_geometry is not None
        assert not found.known
        assert found.origin == "assumed"
        image = image_from_layer(found, colour, rgb=True, name="x")
        np.testing.assert_array_equal(image.array, colour[..., :3])
        assert image.rgb

    def test_the_files_pixel_size_comes_back(self, tmp_path):
        array = np.random.default_rng(0).integers(0, 255, (5, 9, 8)).astype(np.uint8)
        path = tmp_path / "a.ome.tif"
        sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
        tifffile.imwrite(path, array, metadata={"axes": "ZYX", **sizes})
        found = geometry_from_layer_transform(array.shape, source_path=path, data=array)
        assert found.geometry.spacing == (2.0, 0.5, 0.5)
        assert found.geometry.unit == "um"
        assert found.origin == "from the file"

    def test_a_turned_photograph_in_a_layer_as_stored(self, tmp_path):
        exif = Pillow.Exif()
        exif[0x0112] = 6
        stored = np.random.default_rng(0).integers(0, 255, (9, 8)).astype(np.uint8)
        path = tmp_path / "a.png"
        Pillow.fromarray(stored).save(path, exif=exif)
        found = geometry_from_layer_transform((9, 8), source_path=path, data=stored)
        np.testing.assert_array_equal(
            found.geometry.to_display(stored), read_image(path).array
        )

    @pytest.mark.parametrize("value", [0, 7])
    def test_a_symmetric_picture_keeps_its_pixel_size(self, tmp_path, value):
        array = np.zeros((40, 60), np.uint8)
        array[10:30, 10:50] = value
        path = tmp_path / "a.png"
        Pillow.fromarray(array).save(path, dpi=(25400, 25400))
        found = geometry_from_layer_transform((40, 60), source_path=path, data=array)
        assert found.origin == "from the file"
        assert found.geometry.spacing == pytest.approx((1, 1))
        assert found.geometry.unit == "um"

    def test_a_symmetric_photograph_that_is_turned_cannot_be_told(self, tmp_path):
        exif = Pillow.Exif()
        exif[0x0112] = 6
        array = np.full((9, 9), 7, np.uint8)
        path = tmp_path / "a.png"
        Pillow.fromarray(array).save(path, exif=exif)
        found = geometry_from_layer_transform((9, 9), source_path=path, data=array)
        assert "is symmetric" in found.notes[0]

    def test_greys_as_colours_and_bits_as_booleans(self, tmp_path):
        array = np.random.default_rng(0).integers(0, 255, (9, 8)).astype(np.uint8)
        path = tmp_path / "a.png"
        Pillow.fromarray(array).convert("P").save(path, dpi=(25400, 25400))
        layer = np.stack([read_image(path).array] * 3, axis=-1)
        found = geometry_from_layer_transform((9, 8), source_path=path, data=layer)
        assert found.origin == "from the file"
        layer[0, 0, 1] ^= 1  # now it is a colour
        found = geometry_from_layer_transform((9, 8), source_path=path, data=layer)
        assert found.file_geometry is None

        Pillow.fromarray(array > 99).save(path, dpi=(25400, 25400))
        found = geometry_from_layer_transform((9, 8), source_path=path, data=array > 99)
        assert found.origin == "from the file"

    def test_frames_have_the_size_of_their_file(self, tmp_path):
        array = np.random.default_rng(0).integers(0, 255, (3, 5, 9, 8))
        path = tmp_path / "a.tif"
        tifffile.imwrite(
            path,
            array.astype(np.uint8),
            imagej=True,
            resolution=(4, 4),
            metadata={"axes": "TZYX", "spacing": 2.0, "unit": "um"},
        )
        found = geometry_from_layer_transform(
            (5, 9, 8), source_path=path, data=array[1], frame=1
        )
        assert found.geometry.spacing == pytest.approx((2, 0.25, 0.25))
        assert found.file_geometry.source.frame == 1


class TestLayersFromNowhere:
    def test_nothing_is_known(self):
        found = geometry_from_layer_transform((3, 4, 5), (1, 1, 1), (7, 8, 9))
        assert not found.known
        assert found.origin == "assumed"
        assert found.geometry.kind == "none"
        assert found.export_geometry is found.geometry
        assert found.geometry.describe() == "orientation assumed, 1 x 1 x 1 px"
        assert geometry_from_layer_transform((3, 4)).geometry.ornt == ((0, 1), (1, 1))

    def test_units_make_sizes(self):
        found = geometry_from_layer_transform(
            (3, 4, 5), (2, 0.5, 0.25), units=("micrometer",) * 3
        )
        assert found.origin == "from the layer's scale"
        assert not found.known
        assert found.geometry.unit == "um"
        assert found.geometry.spacing == (2, 0.5, 0.25)
        mixed = geometry_from_layer_transform(
            (3, 4), (500, 1), units=("micrometer", "millimeter")
        )
        assert mixed.geometry.unit == "um"
        assert mixed.geometry.spacing == pytest.approx((500, 1000))
        stated = geometry_from_layer_transform((3, 4), (1, 1), units=("mm", "mm"))
        assert stated.geometry.kind == "pixel-size-only"

    def test_pint_units(self):
        pint = pytest.importorskip("pint")
        units = pint.get_application_registry()
        found = geometry_from_layer_transform(
            (3, 4), (2, 3), units=(units.millimeter, units.centimeter)
        )
        assert found.geometry.spacing == (2, 30)
        assert found.geometry.unit == "mm"
        pixels = geometry_from_layer_transform(
            (3, 4), (2, 3), units=(units.pixel, units.pixel)
        )
        assert pixels.geometry.unit == "pixel"

    def test_the_scale_of_a_volume_without_unit_is_taken_for_millimetres(self):
        found = geometry_from_layer_transform((3, 4, 5), (3, 1, 1))
        assert found.geometry.unit == "mm"
        assert found.geometry.spacing == (3, 1, 1)
        assert "taken for millimetres" in found.notes[0]
        plane = geometry_from_layer_transform((3, 4), (3, 1))
        assert plane.geometry.unit == "pixel"
        assert plane.geometry.mm_per_unit is None

    def test_an_axis_drawn_backwards_is_read_backwards(self):
        found = geometry_from_layer_transform((3, 4), (-2, 1))
        array = np.arange(12).reshape(3, 4)
        np.testing.assert_array_equal(found.geometry.to_display(array), array[::-1])
        assert found.geometry.spacing == (2, 1)

    def test_the_whole_transform_counts(self):
        quarter = [[0, -1], [1, 0]]
        found = geometry_from_layer_transform((3, 4), (2, 3), rotate=quarter)
        assert found.geometry.spacing == pytest.approx((2, 3))
        scaled = np.diag([10.0, 10, 1])
        found = geometry_from_layer_transform((3, 4), (2, 3), affine=scaled)
        assert found.geometry.spacing == (20, 30)
        sheared = geometry_from_layer_transform((3, 4), (2, 2), shear=[0.75])
        assert sheared.geometry.spacing == pytest.approx((2, 2.5))
        same = geometry_from_layer_transform((3, 4), (2, 2), shear=[[1, 0.75], [0, 1]])
        assert same.geometry.spacing == pytest.approx((2, 2.5))

    def test_leading_axes_of_the_transform_belong_to_frames(self):
        found = geometry_from_layer_transform(
            (3, 4), (7, 2, 3), units=("second", "mm", "mm")
        )
        assert found.geometry.spacing == (2, 3)
        assert found.geometry.unit == "mm"
        matrices = {"rotate": np.eye(3), "affine": np.eye(4), "shear": np.eye(3)}
        found = geometry_from_layer_transform((3, 4), (7, 2, 3), **matrices)
        assert found.geometry.spacing == (2, 3)

    def test_a_layer_without_extent_is_refused(self):
        with pytest.raises(GeometryError, match="zero"):
            geometry_from_layer_transform((3, 4), (0, 1))
        with pytest.raises(GeometryError, match="2 or 3 spatial axes"):
            geometry_from_layer_transform((3, 4, 5, 6))

    def test_an_empty_layer_is_refused(self):
        found = geometry_from_layer_transform((0, 4))
        with pytest.raises(ImageError, match="The layer x is empty"):
            image_from_layer(found, np.zeros((0, 4)), rgb=False, name="x")

    def test_data_of_another_shape_are_refused(self):
        found = geometry_from_layer_transform((3, 4))
        with pytest.raises(GeometryError, match="do not belong"):
            image_from_layer(found, np.ones((4, 3)), rgb=False, name="x")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_layer_of_itk_is_found_in_its_file(tmp_path, suffix):
    # As napari-itk-io shows it: (z, y, x), spacing, origin and directions of LPS.
    sitk = pytest.importorskip("SimpleITK")
    values = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.7, 3.0))
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    image.SetDirection(turn.ravel())
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path))
    found = geometry_from_layer_transform(
        values.shape,
        scale=(3.0, 0.7, 0.5),
        rotate=turn[::-1, ::-1].T,
        source_path=path,
        data=values,
    )
    assert found.known
    assert found.origin == "from the file"
    np.testing.assert_array_equal(found.to_file(values), values.T)


def test_conversions_and_copies_in_napari_keep_what_we_know(tmp_path):
    actions = pytest.importorskip("napari.layers._layer_actions")
    from napari.components import ViewerModel

    geometry = Geometry.from_affine(np.diag([-1, 1, 2, 1.0]), (4, 5, 6))
    viewer = ViewerModel()
    viewer.add_labels(np.ones((6, 5, 4), np.uint8), metadata=layer_metadata(geometry))
    actions._duplicate_layer(viewer.layers)
    viewer.layers.selection = {viewer.layers[0]}
    actions._convert(viewer.layers, "image")
    for layer in viewer.layers:
        found = geometry_from_layer_transform(layer.data.shape, metadata=layer.metadata)
        assert found.file_geometry == geometry


def test_a_layer_of_a_zarr_folder_is_not_read_again(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr/.zattrs").write_text("{}")
    found = geometry_from_layer_transform(
        (6, 5, 4),
        scale=(2, 1, 1),
        units=["um"] * 3,
        source_path=tmp_path / "a.zarr",
        data=np.ones((6, 5, 4)),
    )
    assert found.geometry.unit == "um"
    assert found.notes == ()
