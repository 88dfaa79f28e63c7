"""Masks: which file, which type, and nothing that is not asked for is replaced."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest

from napari_medurwkv.errors import GeometryError, OutputError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import label_suffixes, read_image, read_labels, write_labels
from napari_medurwkv.io import write as write_module


@dataclass(frozen=True)
class Named:
    value: int
    name: str = "class"
    color: str = "#ff8000"


def mask_of(geometry, highest=3):
    shape = geometry.display_shape
    labels = np.random.default_rng(0).integers(0, highest + 1, shape)
    labels.flat[0] = highest
    return labels.astype(np.min_scalar_type(highest))


@pytest.mark.parametrize("suffix", label_suffixes())
def test_every_kind_of_file_comes_back(suffix, tmp_path):
    geometry = Geometry.plain((9, 8), (0.5, 0.25), "um")
    mask = mask_of(geometry)
    path = write_labels(tmp_path / f"mask{suffix}", mask, geometry)
    again = read_labels(path)
    np.testing.assert_array_equal(again.array, mask)
    assert again.name == "mask"
    assert again.array.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".nii.gz", ".tif"])
def test_volumes_come_back(suffix, tmp_path):
    geometry = Geometry.plain((4, 9, 8), (2.0, 0.5, 0.25), "mm")
    mask = mask_of(geometry, 300)
    again = read_labels(write_labels(tmp_path / f"m{suffix}", mask, geometry))
    np.testing.assert_array_equal(again.array, mask)
    assert again.array.dtype == np.uint16
    assert again.geometry.display_spacing == (2.0, 0.5, 0.25)


def test_a_plane_with_anatomy_is_written_as_picture_as_it_is_shown(tmp_path):
    affine = np.array([[0, -0.5, 0, 0], [0.25, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
    geometry = Geometry.from_affine(affine, (6, 9))
    mask = mask_of(geometry)
    for suffix in (".png", ".tif"):
        again = read_labels(write_labels(tmp_path / f"m{suffix}", mask, geometry))
        np.testing.assert_array_equal(again.array, mask)
        assert again.geometry.spacing == pytest.approx((0.25, 0.5), rel=1e-4)


def test_a_volume_with_anatomy_is_written_as_stack_as_it_is_shown(tmp_path):
    geometry = Geometry.from_affine(np.diag([0.5, 0.75, 2.0, 1]), (7, 6, 5))
    mask = mask_of(geometry)
    again = read_labels(write_labels(tmp_path / "m.tif", mask, geometry))
    np.testing.assert_array_equal(again.array, mask)
    assert again.geometry.spacing == (2.0, 0.75, 0.5)


def test_the_classes_fix_the_type(tmp_path):
    geometry = Geometry.from_affine(np.eye(4), (3, 4, 5))
    labels = np.zeros(geometry.display_shape, np.uint8)
    path = write_labels(tmp_path / "m.nii", labels, geometry, classes=[Named(700)])
    assert read_labels(path).array.dtype == np.uint16


def test_true_and_false_are_labels(tmp_path):
    geometry = Geometry.plain((3, 4))
    mask = np.eye(3, 4, dtype=bool)
    again = read_labels(write_labels(tmp_path / "m.png", mask, geometry))
    np.testing.assert_array_equal(again.array, mask)


def test_refusals(tmp_path):
    geometry = Geometry.plain((3, 4))
    labels = np.zeros((3, 4), np.uint8)
    with pytest.raises(OutputError, match=r"one of the endings \.nii, \.nii\.gz"):
        write_labels(tmp_path / "mask.jpg", labels, geometry)
    with pytest.raises(OutputError, match="endings"):
        write_labels(tmp_path / "mask", labels, geometry)
    with pytest.raises(GeometryError, match="do not belong together"):
        write_labels(tmp_path / "mask.png", labels.T, geometry)
    with pytest.raises(OutputError, match="whole numbers"):
        write_labels(tmp_path / "mask.png", labels.astype(float), geometry)
    with pytest.raises(OutputError, match="below 0"):
        write_labels(tmp_path / "mask.png", labels.astype(int) - 1, geometry)
    with pytest.raises(OutputError, match="as high as"):
        write_labels(tmp_path / "mask.tif", labels.astype(int) + 2**33, geometry)
    with pytest.raises(OutputError, match=r"up to 65535.*\.tif"):
        write_labels(tmp_path / "mask.png", labels.astype(int) + 65536, geometry)
    solid = Geometry.plain((3, 4, 5))
    with pytest.raises(OutputError, match="one 2D mask"):
        write_labels(tmp_path / "mask.png", np.zeros((3, 4, 5), np.uint8), solid)
    assert list(tmp_path.iterdir()) == []


def test_high_labels_go_into_tiff(tmp_path):
    geometry = Geometry.plain((3, 4))
    labels = np.arange(12).reshape(3, 4) + 70000
    again = read_labels(write_labels(tmp_path / "m.tif", labels, geometry))
    assert again.array.dtype == np.uint32
    np.testing.assert_array_equal(again.array, labels)


@pytest.mark.parametrize("suffix", [".nii.gz", ".png", ".tif"])
def test_the_image_itself_is_never_replaced(suffix, tmp_path):
    path = tmp_path / f"image{suffix}"
    write_labels(path, np.ones((3, 4), np.uint8), Geometry.plain((3, 4)))
    image = read_image(path)
    before = path.read_bytes()
    link = tmp_path / f"link{suffix}"
    link.symlink_to(path)
    for target in (path, link):
        with pytest.raises(OutputError, match="is the image itself"):
            write_labels(
                target, np.zeros((3, 4), np.uint8), image.geometry, overwrite=True
            )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("suffix", "writer"),
    [(".nii.gz", "write_nifti"), (".png", "write_png"), (".tif", "write_tiff")],
)
@pytest.mark.parametrize("damage", ["another mask", "broken file"])
def test_what_does_not_come_back_is_not_kept(
    suffix, writer, damage, tmp_path, monkeypatch
):
    geometry = Geometry.plain((9, 8), (0.5, 0.25), "um")
    mask = mask_of(geometry)
    honest = getattr(write_module, writer)

    other_mask = mask.copy()
    other_mask[4, 4] += 1
    write_labels(tmp_path / f"other{suffix}", other_mask, geometry)
    other = (tmp_path / f"other{suffix}").read_bytes()

    def spoiling(path, *args, **kwargs):
        honest(path, *args, **kwargs)
        content = path.read_bytes()
        broken = damage == "broken file"
        path.write_bytes(content[: len(content) // 4] if broken else other)

    monkeypatch.setattr(write_module, writer, spoiling)
    with pytest.raises(OutputError, match="did not come back"):
        write_labels(tmp_path / f"mask{suffix}", mask, geometry)
    assert not (tmp_path / f"mask{suffix}").exists()


def test_a_spoilt_position_is_found(tmp_path, monkeypatch):
    geometry = Geometry.from_affine(np.diag([1.0, 2, 3, 1]), (3, 4, 5))
    labels = np.zeros(geometry.display_shape, np.uint8)
    honest = write_module.write_nifti

    def shift(path, header, array):
        moved = header.copy()
        moved["srow_x"][3] += 1
        honest(path, moved, array)

    monkeypatch.setattr(write_module, "write_nifti", shift)
    with pytest.raises(OutputError, match="did not come back"):
        write_labels(tmp_path / "m.nii.gz", labels, geometry)


@pytest.mark.parametrize("suffix", label_suffixes())
def test_equal_masks_are_equal_files(suffix, tmp_path):
    geometry = Geometry.plain((9, 8), (0.5, 0.25), "um")
    mask = mask_of(geometry)
    first = write_labels(tmp_path / f"a{suffix}", mask, geometry)
    second = write_labels(tmp_path / f"b{suffix}", mask, geometry)
    assert first.read_bytes() == second.read_bytes()


def test_nifti_2_stays_only_where_it_is_needed(tmp_path):
    """ITK reads no NIfTI-2, and most such files say nothing that NIfTI-1 cannot."""
    for name, corner, kind in (
        ("plain", 12.5, nib.Nifti1Image),
        ("precise", 12.123456789, nib.Nifti2Image),
    ):
        affine = np.diag([2.0, 2.0, 2.5, 1.0])
        affine[0, 3] = corner
        image = nib.Nifti2Image(np.zeros((4, 5, 6), np.int16), affine)
        image.set_sform(affine, 1)
        nib.save(image, tmp_path / f"{name}.nii")
        read = read_image(tmp_path / f"{name}.nii")
        mask = write_labels(
            tmp_path / f"{name}_mask.nii",
            np.ones(read.array.shape, np.uint8),
            read.geometry,
        )
        assert type(nib.load(mask)) is kind, name
        np.testing.assert_array_equal(nib.load(mask).affine, affine)
