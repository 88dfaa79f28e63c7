"""Volumes, surfaces, diameters and intensities, against shapes that are known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.checkpoints import ClassInfo
from napari_medurwkv.errors import GeometryError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.measure import (
    measure_intensities,
    measure_shape,
    measure_structures,
)
from napari_medurwkv.measure.shape import slice_sizes

CLASSES = tuple(
    ClassInfo(value=v, name=n, color="#00ff00")
    for v, n in ((0, "background"), (1, "liver"), (2, "spleen"), (9, "absent"))
)


def ball(radius, spacing):
    size = [int(2 * radius / s) + 5 for s in spacing]
    axes = [
        (np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    return sum(g**2 for g in grid) <= radius**2


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.5, 0.8, 0.8)])
def test_a_ball_has_the_volume_and_diameter_of_a_ball(spacing):
    shape = measure_shape(ball(30, spacing), spacing)
    volume = 4 / 3 * np.pi * 30**3
    assert shape.size == pytest.approx(volume, rel=0.01)
    assert shape.mesh_size == pytest.approx(volume, rel=0.02)
    assert shape.diameter == pytest.approx(60, abs=max(spacing))
    # Marching cubes of a staircase are rougher than the ball: known to be 5 to 15 %.
    assert 1.0 < shape.boundary / (4 * np.pi * 30**2) < 1.2


def test_a_box_counts_exactly():
    mask = np.zeros((9, 9, 9), bool)
    mask[2:6, 2:7, 2:8] = True
    shape = measure_shape(mask, (2, 1, 0.5))
    assert shape.voxels == 120
    assert shape.size == pytest.approx(120)
    # The boundary's corners are the middles of faces: from one end of an axis to the
    # farthest voxel centre at the other end.
    ends = np.array([[4 * 2, 4 * 1, 5 * 0.5], [3 * 2, 5 * 1, 5 * 0.5]])
    assert shape.diameter == pytest.approx(np.linalg.norm(ends, axis=1).max())


def test_one_voxel_and_none():
    one = measure_shape(np.ones((1, 1, 1), bool), (3, 2, 1))
    assert one.diameter == pytest.approx(3)
    assert one.mesh_size == pytest.approx(8 * 6 / 48)
    nothing = measure_shape(np.zeros((3, 3, 3), bool), (1, 1, 1))
    assert (nothing.voxels, nothing.size, nothing.diameter) == (0, 0, 0)


def test_a_plane_has_area_perimeter_and_diameter():
    mask = np.zeros((8, 8), bool)
    mask[2:5, 1:7] = True
    shape = measure_shape(mask, (0.5, 0.25))
    assert shape.size == pytest.approx(18 * 0.125)
    corner = np.hypot(0.25, 0.125)
    assert shape.boundary == pytest.approx(2 * 5 * 0.25 + 2 * 2 * 0.5 + 4 * corner)


def test_shear_and_tilt_are_measured_by_the_affine():
    mask = ball(6, (1, 1, 1))
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    upright, turned = (
        measure_shape(mask, (1, 2, 3)),
        measure_shape(mask, turn @ np.diag([1, 2, 3])),
    )
    for name in ("size", "mesh_size", "boundary", "diameter"):
        assert getattr(turned, name) == pytest.approx(getattr(upright, name))
    sheared = np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1.0]])
    # A shear keeps volumes and changes surfaces.
    assert measure_shape(mask, sheared).size == pytest.approx(mask.sum())
    assert (
        measure_shape(mask, sheared).boundary
        > 1.01 * measure_shape(mask, (1, 1, 1)).boundary
    )


def test_slices_add_up_to_the_volume():
    mask = ball(9, (3, 1, 1))
    areas = slice_sizes(mask, (3, 1, 1))
    assert sum(areas.values()) * 3 == pytest.approx(mask.sum() * 3)
    assert min(areas) == int(np.flatnonzero(mask.any(axis=(1, 2)))[0])


def test_spacing_must_fit():
    with pytest.raises(GeometryError, match="2 numbers"):
        measure_shape(np.ones((2, 2, 2), bool), (1, 1))
    with pytest.raises(GeometryError, match="positive"):
        measure_shape(np.ones((2, 2), bool), (1, 0))


def test_intensities_inside():
    image = np.arange(24, dtype=np.int16).reshape(4, 6)
    inside = image > 11
    found = measure_intensities(image, inside)
    values = np.arange(12, 24)
    assert found.mean == values.mean()
    assert found.sd == pytest.approx(values.std())
    assert (found.minimum, found.maximum) == (12, 23)
    assert (found.p10, found.p90) == tuple(np.percentile(values, (10, 90)))
    assert measure_intensities(image, image > 99) is None


def test_every_class_is_listed_with_its_units():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0, :2, :3], labels[2:, 4, 4], labels[3, 0, 0] = 1, 2, 7
    geometry = Geometry.plain(labels.shape, (2, 1, 0.5), "um")
    image = labels.astype(np.float32) * 10
    found = measure_structures(labels, geometry, CLASSES, image=image)
    assert [m.name for m in found] == ["liver", "spleen", "value 7", "absent"]
    liver, spleen, _, absent = found
    assert liver.unit == "mm"
    assert liver.shape.size == pytest.approx(6 * 1e-9)
    assert liver.ml == pytest.approx(6e-12)
    assert liver.intensities.mean == 10
    assert set(spleen.slices) == {2, 3}
    assert (absent.shape.voxels, absent.intensities) == (0, None)


def test_objects_are_measured_one_by_one():
    labels = np.zeros((9, 9), np.int32)
    labels[:3, :3], labels[5:, 5:] = 4, 70000
    geometry = Geometry.plain(labels.shape)
    found = measure_structures(labels, geometry, CLASSES, instances=True)
    assert [(m.value, m.shape.voxels) for m in found] == [(4, 9), (70000, 16)]
    assert found[0].name == "liver 4"
    assert (found[0].unit, found[0].ml) == ("px", None)


def test_labels_must_fit_the_geometry():
    with pytest.raises(GeometryError, match="belong together"):
        measure_structures(np.zeros((3, 4), int), Geometry.plain((4, 3)))


def test_published_figures_of_a_real_tumour(shared_data):
    """Figures that pyradiomics publishes for its case brain1."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(shared_data / "volumes" / "brain1_label.nrrd"))
    labels = sitk.GetArrayFromImage(image)
    geometry = Geometry.plain(labels.shape, image.GetSpacing()[::-1], "mm")
    (tumour,) = measure_structures(labels, geometry)
    assert tumour.shape.size == pytest.approx(16412.66, abs=0.01)
    assert tumour.ml == pytest.approx(16.41266, abs=1e-5)
    assert tumour.shape.diameter == pytest.approx(69.60, abs=0.005)
    assert tumour.shape.boundary == pytest.approx(6433.7, rel=0.002)
    assert tumour.shape.mesh_size == pytest.approx(16149.5, rel=0.002)
