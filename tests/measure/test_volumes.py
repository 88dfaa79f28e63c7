"""Volumes and areas of classes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.checkpoints import ClassInfo
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.measure import (
    class_counts,
    class_measures,
    measures_from_counts,
    object_measure,
    volumes,
)

CLASSES = tuple(
    ClassInfo(value=v, name=f"class {v}", color="#00ff00") for v in (0, 1, 3, 300)
)


def _labels(shape, dtype=np.uint16):
    rng = np.random.default_rng(0)
    return rng.choice([0, 1, 3, 300, 7], shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_counts_are_those_of_comparing(dtype):
    labels = _labels((20, 30, 40), dtype)
    counts = class_counts(labels, CLASSES)
    assert counts.tolist() == [(labels == c.value).sum() for c in CLASSES]


def test_counts_of_bytes_with_values_beyond_the_classes():
    labels = np.array([[0, 1, 200, 255, 1]], np.uint8)
    assert class_counts(labels, CLASSES[:3]).tolist() == [1, 2, 0]


def test_negative_values_are_passed_over():
    assert class_counts(np.array([-1, 1, -300]), CLASSES).tolist() == [0, 1, 0, 0]


def test_slabs_and_regions_add_up(monkeypatch):
    labels = _labels((20, 30))
    whole = class_counts(labels, CLASSES)
    parts = class_counts(labels[:7], CLASSES) + class_counts(labels[7:], CLASSES)
    assert whole.tolist() == parts.tolist()
    monkeypatch.setattr(volumes, "SLAB_VALUES", 64)
    assert class_counts(labels, CLASSES).tolist() == whole.tolist()
    assert class_counts(labels[:0], CLASSES).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("spacing", "unit", "one", "name"),
    [
        ((2, 0.5, 0.5), "mm", 0.0005, "mL"),
        ((0.5, 0.25), "mm", 0.125, "mm²"),
        ((0.5, 0.25), "um", 0.125, "µm²"),
        (None, "pixel", 1, "px"),
    ],
)
def test_units(spacing, unit, one, name):
    shape = (8, 9, 10)[: len(spacing) if spacing else 2]
    labels = np.ones(shape, np.uint8)
    measures = class_measures(labels, Geometry.plain(shape, spacing, unit), CLASSES)
    assert [m.value for m in measures] == [1, 3, 300]
    first = measures[0]
    assert (first.name, first.color) == ("class 1", "#00ff00")
    assert first.voxels == labels.size
    assert first.unit == name
    assert first.size == pytest.approx(one * labels.size)
    assert first.components is None
    assert measures[1].size == 0


def test_oblique_voxels_have_the_volume_of_their_edges():
    shear = np.array([[1, 0.5, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    geometry = Geometry.from_affine(shear, (4, 4, 4))
    (measure,) = measures_from_counts(np.array([1000]), geometry, CLASSES[1:2])
    assert measure.size == pytest.approx(6)
    assert measure.unit == "mL"


def test_objects_are_counted(monkeypatch):
    monkeypatch.setattr(volumes, "SLAB_VALUES", 8)
    labels = np.zeros((12, 10), np.int32)
    labels[:3, :3], labels[5:, 2:4], labels[9, 9] = 1, 70000, 5
    measure = object_measure(labels, Geometry.plain((12, 10)), CLASSES[1])
    assert measure.components == 3
    assert measure.voxels == measure.size == 9 + 14 + 1
    empty = object_measure(labels[4:5], Geometry.plain((1, 10)), CLASSES[1])
    assert empty.components == empty.voxels == 0
