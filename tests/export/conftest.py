"""A mask with gaps in its values, oblique and flipped, and records to go with it."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from napari_medurwkv.checkpoints import ClassInfo
from napari_medurwkv.checkpoints.card import CodedConcept
from napari_medurwkv.export import ExportMask
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import image_from_array
from napari_medurwkv.provenance import InputRecord, RunRecord, SoftwareRecord


def load_dicoms():
    """Load the module that makes small DICOM series; it lies beside io's tests."""
    path = Path(__file__).resolve().parents[1] / "io" / "dicoms.py"
    spec = importlib.util.spec_from_file_location("medurwkv_dicoms", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLASSES = (
    ClassInfo(value=0, name="background", color="#000000"),
    ClassInfo(value=1, name="Liver", color="#ff8000"),
    ClassInfo(
        value=7,
        name="odd; thing",
        color="#0080ff",
        category=CodedConcept(value="49755003", meaning="Morphologically Altered"),
        type=CodedConcept(value="108369006", meaning="Neoplasm"),
    ),
    ClassInfo(value=9, name="absent", color="#123456"),
)


def oblique():
    """An affine that is turned, flipped and far from the origin."""
    a, b = np.radians((20, 8))
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.diag([-0.8, 1.1, 3.0])
    affine[:3, 3] = (33.25, -71.5, 1204.75)
    return affine


@pytest.fixture
def geometry():
    return Geometry.from_affine(oblique(), (14, 11, 9))


@pytest.fixture
def labels(geometry):
    source = np.zeros(geometry.shape, np.int64)
    source[2:7, 3:9, 1:5] = 1
    source[8:12, 2:5, 4:8] = 7
    return geometry.to_display(source)


@pytest.fixture
def mask(labels, geometry):
    return ExportMask(labels, geometry, CLASSES)


@pytest.fixture
def plane():
    labels = np.zeros((12, 17), np.uint8)
    labels[2:6, 3:9], labels[8:11, 12:16] = 1, 7
    return ExportMask(labels, Geometry.plain(labels.shape, (0.5, 0.25)), CLASSES)


@pytest.fixture
def record():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return RunRecord.model_validate(
        {
            "software": SoftwareRecord.here(),
            "model": {
                "name": "organs",
                "version": "3",
                "file_name": "organs.safetensors",
                "sha256": "ab" * 32,
                "architecture": "med_urwkv_nano",
            },
            "input": InputRecord.of(image_from_array(np.zeros((3, 4), np.uint8))),
            "parameters": {"overlap": 0.5},
            "device_path": ["cpu"],
            "started": now,
            "finished": now,
            "seconds": 1.0,
            "complete": True,
            "fraction": 1.0,
        }
    )
