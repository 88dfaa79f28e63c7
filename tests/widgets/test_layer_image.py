"""From a layer to the engine's image, and from the mask back to the file."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image
from napari.layers._source import layer_source

from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import LazyArray, read_image, write_labels
from napari_medurwkv.widgets.layer_image import (
    LayerImage,
    find_geometry,
    take_snapshot,
)


def look(layer, frame=None):
    snapshot = take_snapshot(layer)
    return LayerImage(snapshot, find_geometry(snapshot), frame)


@pytest.fixture
def scan(tmp_path):
    """A file in an order that is neither napari's nor the display's (PIR)."""
    generator = np.random.default_rng(0)
    values = generator.integers(0, 1000, (5, 6, 7)).astype(np.int16)
    affine = np.array(
        [[0, 0, 2.0, 5], [-1, 0, 0, 6], [0, -3, 0, 7], [0, 0, 0, 1]], float
    )
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 2)
    image.set_qform(affine, 1)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    return path


def test_layer_turned_by_another_reader_brings_its_mask_back_to_the_file(
    scan, tmp_path
):
    # Canonical and reversed, as napari-nifti turns it.
    array = nib.as_closest_canonical(nib.load(scan)).get_fdata().T
    with layer_source(path=str(scan)):
        layer = Image(array, scale=(3, -1, -2))
    picture = look(layer)
    np.testing.assert_array_equal(picture.read().array, read_image(scan).array)

    # A mask that follows the image: threshold in display order, as the engine would.
    data, out = picture.new_labels(np.uint8)
    out[...] = picture.read().array > 500
    np.testing.assert_array_equal(data, array > 500)

    entry = type("Entry", (), {})
    entry.card = type("Card", (), {"name": "n", "title": "t", "version": "1"})
    entry.card.classes = ()
    block = picture.mask_metadata(entry, False)["medurwkv"]
    target = tmp_path / "mask.nii.gz"
    write_labels(target, data, Geometry.from_json(block["geometry"]))
    original, mask = nib.load(scan), nib.load(target)
    np.testing.assert_array_equal(mask.affine, original.affine)
    np.testing.assert_array_equal(
        np.asarray(mask.dataobj), np.asarray(original.dataobj) > 500
    )
    assert (mask.header["sform_code"], mask.header["qform_code"]) == (2, 1)


def test_frame_of_a_series(volume):
    series = np.stack([volume, volume + 1])
    picture = look(Image(series, scale=(9, 2, 1, 1)), frame=1)
    np.testing.assert_array_equal(picture.read().array, volume + 1)
    data, out = picture.new_labels(np.uint8)
    assert data.shape == (1, 8, 20, 24)
    out[2, 3, 4] = 1
    assert data[0, 2, 3, 4] == 1
    assert picture.geometry.source.frame == 1
    assert picture.geometry.spacing == (2, 1, 1)


def test_frames_that_another_reader_opened_are_found_in_their_file(tmp_path):
    values = np.random.default_rng(0).integers(0, 99, (4, 5, 6, 3)).astype(np.int16)
    affine = np.diag([-2.0, -3, 4, 1])
    affine[:3, 3] = 5, 6, 7
    path = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    nib.save(image, path)
    with layer_source(path=str(path)):
        layer = Image(values.T)
    picture = look(layer, frame=2)
    assert picture.layer_geometry.known
    np.testing.assert_array_equal(picture.geometry.affine, affine)
    assert picture.geometry.source.frame == 2
    np.testing.assert_array_equal(picture.read().array, read_image(path, frame=2).array)


def test_series_of_2d_images_from_our_reader():
    geometry = Geometry.plain((4, 5))
    metadata = {"medurwkv": {"geometry": geometry.to_json()}}
    layer = Image(np.zeros((3, 4, 5)), metadata=metadata)
    assert take_snapshot(layer).frames == 3
    assert take_snapshot(layer).shape == (4, 5)
    # The same shape without our word for it is a volume.
    assert take_snapshot(Image(np.zeros((3, 4, 5)))).frames == 0


def test_check_looks_at_no_voxel():
    class Untouchable:
        shape, dtype, ndim = (4, 5, 6), np.dtype(float), 3

        def __array__(self, *_, **__):
            raise AssertionError("the voxels were read")

    snapshot = take_snapshot(Image(np.zeros((4, 5, 6))))
    geometry = find_geometry(snapshot)
    from dataclasses import replace

    picture = LayerImage(replace(snapshot, data=Untouchable()), geometry)
    card = type(
        "Card",
        (),
        {"dimensions": 3, "channels": ("grey",), "repeat_grey": False, "name": "n"},
    )
    picture.check(card)


@pytest.fixture
def watched(volume):
    """A dask image, and the shapes of the parts that were made of it."""
    dask = pytest.importorskip("dask.array")
    made = []

    def make(block):
        if block.size:
            made.append(block.shape)
        return block

    array = dask.from_array(volume, chunks=(4, 10, 12))
    return array.map_blocks(make, dtype=volume.dtype, meta=volume[:0, :0, :0]), made


def test_lazy_layer_stays_lazy(volume, watched):
    array, made = watched
    layer = Image(array, contrast_limits=(0, 1))
    made.clear()
    read = look(layer).read().array
    assert isinstance(read, LazyArray)
    assert not made
    np.testing.assert_array_equal(read[2:3, :4], volume[2:3, :4])
    assert len(made) == 2
    np.testing.assert_array_equal(read[3, :4], volume[3, :4])
    assert len(made) == 2  # of the pieces that had been made


def test_frame_of_a_lazy_series(volume):
    dask = pytest.importorskip("dask.array")
    series = dask.from_array(np.stack([volume, volume + 1]), chunks=(1, 4, 20, 24))
    picture = look(Image(series, contrast_limits=(0, 1)), frame=1)
    np.testing.assert_array_equal(picture.read().array[2:4], volume[2:4] + 1)


def test_lazy_layer_of_another_reader_is_turned_part_by_part(scan):
    dask = pytest.importorskip("dask.array")
    array = nib.as_closest_canonical(nib.load(scan)).get_fdata().T
    with layer_source(path=str(scan)):
        layer = Image(dask.from_array(array, chunks=2), scale=(3, -1, -2))
    read = look(layer).read().array
    assert isinstance(read, LazyArray)
    np.testing.assert_array_equal(read[:], read_image(scan).array)


def test_levels_of_a_pyramid_go_along(volume):
    dask = pytest.importorskip("dask.array")
    plane = np.arange(400.0).reshape(20, 20)
    levels = [dask.from_array(plane), dask.from_array(plane[::2, ::2])]
    layer = Image(levels, multiscale=True, contrast_limits=(0, 1))
    read = look(layer).read().array
    assert [level.shape for level in read.levels] == [(20, 20), (10, 10)]
