"""The record of a run is complete, private, and never replaces what is not its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from napari_medurwkv import __version__
from napari_medurwkv.errors import OutputError
from napari_medurwkv.geometry import Geometry, SourceInfo
from napari_medurwkv.io import Image, image_from_array
from napari_medurwkv.provenance import (
    RESEARCH_USE,
    InputRecord,
    ModelRecord,
    RunRecord,
    SoftwareRecord,
    array_sha256,
    record_path,
    write_record,
)

START = datetime(2026, 11, 23, 10, 0, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture
def fields() -> dict[str, Any]:
    return {
        "software": SoftwareRecord.here(),
        "model": {
            "name": "nuclei",
            "version": "1",
            "file_name": "nuclei.safetensors",
            "sha256": "0" * 64,
            "architecture": "med_urwkv_nano",
        },
        "input": InputRecord.of(image_from_array(np.zeros((3, 4), np.uint8))),
        "parameters": {"patch_size": [256, 256], "overlap": 0.5, "instances": False},
        "device_path": ["cuda:0", "out of memory: 8 windows at once"],
        "started": START,
        "finished": START + timedelta(seconds=2),
        "seconds": 1.5,
        "complete": True,
        "fraction": 1.0,
    }


@pytest.fixture
def record(fields: dict[str, Any]) -> RunRecord:
    return RunRecord.model_validate(fields)


def test_survives_json(record: RunRecord) -> None:
    text = record.model_dump_json()
    assert RunRecord.model_validate_json(text) == record
    fields = json.loads(text)
    assert fields["notice"] == RESEARCH_USE
    assert fields["started"] == "2026-11-23T08:00:00Z"
    assert fields["finished"] == "2026-11-23T08:00:02Z"
    assert record.started.tzinfo is UTC


def test_software() -> None:
    import torch

    software = SoftwareRecord.here()
    assert software.plugin == __version__
    assert software.torch == torch.__version__
    assert software.numpy == np.__version__
    assert software.python == sys.version.split()[0]


def test_model_of_a_checkpoint() -> None:
    card = SimpleNamespace(name="a", version="2", architecture="med_urwkv_nano")
    model: Any = SimpleNamespace(
        card=card, path=Path("some", "where", "a.safetensors"), sha256="a" * 64
    )
    described = ModelRecord.of(model)
    assert described.file_name == "a.safetensors"
    assert described.sha256 == "a" * 64


def test_input_from_a_file() -> None:
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    source = SourceInfo(
        format="nifti", path="/home/somebody/scan.nii.gz", sha256="b" * 64, frame=3
    )
    geometry = Geometry.from_affine(affine, (5, 6, 7), source=source)
    array = geometry.to_display(np.zeros((5, 6, 7), np.int16))
    described = InputRecord.of(Image(array, geometry, False, "scan", ("2 NaN",)))
    assert described.file_name == "scan.nii.gz"
    assert (described.sha256, described.sha256_of) == ("b" * 64, "file")
    assert described.shape == (5, 6, 7)
    assert described.spacing == (2.0, 3.0, 4.0)
    assert described.orientation == "LAS"
    assert described.frame == 3
    assert described.notes == ("2 NaN",)
    assert "somebody" not in described.model_dump_json()


def test_input_from_an_array() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    described = InputRecord.of(image_from_array(array))
    assert described.file_name is None
    assert described.sha256_of == "array"
    assert described.sha256 == array_sha256(array)
    assert described.orientation == ""
    assert described.assumed


def test_array_digest() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = hashlib.sha256(b"<f4 (2, 3)\n" + array.tobytes()).hexdigest()
    assert array_sha256(array) == expected
    assert array_sha256(np.asfortranarray(array)) == expected
    assert array_sha256(array.astype(">f4")) == expected
    assert array_sha256(array[::-1][::-1]) == expected
    assert array_sha256(array.T) != expected
    assert array_sha256(array.reshape(3, 2)) != expected
    assert array_sha256(array.astype(np.float64)) != expected
    assert array_sha256(np.zeros(0)) != array_sha256(np.zeros((0, 1)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device_path": []}, "device_path"),
        ({"device_path": ["/dev/nvidia0"]}, "no absolute paths"),
        ({"parameters": {"out": "/home/somebody/x"}}, "no absolute paths"),
        ({"parameters": {"out": ["a", {"b": "C:\\Users\\somebody"}]}}, "no absolute"),
        ({"parameters": {"~/scans/a": 1}}, "no absolute paths"),
        ({"parameters": {"a": "file:///x"}}, "no absolute paths"),
        ({"parameters": {"a": object()}}, "parameters"),
        ({"fraction": 0.5}, "computed every window"),
        ({"fraction": 1.5}, "fraction"),
        ({"seconds": float("nan")}, "seconds"),
        ({"finished": START - timedelta(seconds=1)}, "finishes after"),
        ({"started": datetime(2026, 11, 23)}, "started"),
        ({"patient": "somebody"}, "patient"),
    ],
)
def test_refusals(fields: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RunRecord.model_validate(fields | change)


@pytest.mark.parametrize("name", ["/home/x/a.nii", "..\\a.nii", "b/a.nii", ""])
def test_file_names_have_no_folders(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match="file_name"):
        RunRecord.model_validate(
            fields | {"model": fields["model"] | {"file_name": name}}
        )


def test_relative_words_are_no_paths(fields: dict[str, Any]) -> None:
    parameters = {"a": "and/or", "b": "~5 %", "c": "cuda:0", "d": ""}
    assert RunRecord.model_validate(fields | {"parameters": parameters})


def test_part_of_a_run(fields: dict[str, Any]) -> None:
    part = fields | {"complete": False, "fraction": 0.4}
    assert not RunRecord.model_validate(part).complete


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("x.nii.gz", "x.json"),
        ("x.NII.GZ", "x.json"),
        ("x.nii", "x.json"),
        ("a.b.nii.gz", "a.b.json"),
        ("x.ome.tif", "x.json"),
        ("x.v2.png", "x.v2.json"),
        ("x", "x.json"),
    ],
)
def test_record_path(mask: str, expected: str) -> None:
    assert record_path(Path("out") / mask) == Path("out", expected)
    assert record_path(mask) == Path(expected)


def test_mask_that_ends_like_a_record() -> None:
    with pytest.raises(OutputError, match="cannot be a mask"):
        record_path("x.json")


def test_write(tmp_path: Path, record: RunRecord) -> None:
    path = tmp_path / "x.json"
    assert write_record(path, record) == path
    assert RunRecord.model_validate_json(path.read_bytes()) == record
    assert path.read_bytes().endswith(b"}\n")
    with pytest.raises(OutputError, match="exists already"):
        write_record(path, record)
    later = record.model_copy(update={"seconds": 2.0})
    write_record(path, later, overwrite=True)
    assert RunRecord.model_validate_json(path.read_bytes()) == later
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b'{"RepetitionTime": 2}', b"[]", b"\xff", b""])
def test_files_of_others_are_never_replaced(
    tmp_path: Path, record: RunRecord, content: bytes
) -> None:
    path = tmp_path / "scan.json"
    path.write_bytes(content)
    for overwrite in (False, True):
        with pytest.raises(OutputError):
            write_record(path, record, overwrite=overwrite)
    assert path.read_bytes() == content


def test_folder_that_does_not_exist(tmp_path: Path, record: RunRecord) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        write_record(tmp_path / "none" / "x.json", record)


def test_every_field_is_documented() -> None:
    for schema in (SoftwareRecord, ModelRecord, InputRecord):
        assert all(field.description for field in schema.model_fields.values())


def test_imports_no_torch() -> None:
    code = (
        "import sys; from napari_medurwkv.provenance import SoftwareRecord;"
        "SoftwareRecord.here();"
        "heavy = {'torch', 'numpy', 'napari', 'qtpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
