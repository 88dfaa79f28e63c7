"""OME-Zarr of both versions: sizes, frames, colours, masks, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io import (
    frame_count,
    is_label_file,
    read_image,
    read_labels,
    zarr_image,
)
from napari_medurwkv.io.lazy import LazyArray

zarr = pytest.importorskip("zarr")

VALUES = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)


def write(path, values, axes, scale, version="0.5", unit="micrometer", **attributes):
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    array = group.create_array("0", shape=values.shape, dtype=values.dtype)
    array[...] = values
    half = values[(..., slice(None, None, 2), slice(None, None, 2))]
    group.create_array("1", shape=half.shape, dtype=half.dtype)[...] = half
    described = []
    for name in axes:
        axis = {"name": name, "type": {"t": "time", "c": "channel"}.get(name, "space")}
        if name in "zyx" and unit:
            axis["unit"] = unit
        described.append(axis)
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [s * (level + 1) for s in scale]}
            ],
        }
        for level in range(2)
    ]
    scales = [{"axes": described, "datasets": datasets, "version": version}]
    content = {"multiscales": scales, **attributes}
    group.attrs.update(content if version == "0.4" else {"ome": content})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_volume(tmp_path, version):
    path = write(tmp_path / "a.ome.zarr", VALUES[0], "zyx", (2.0, 0.5, 0.25), version)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, VALUES[0])
    assert image.geometry.kind == "pixel-size-only"
    assert image.geometry.display_spacing == (2.0, 0.5, 0.25)
    assert image.geometry.unit == "um"
    assert image.name == "a"
    assert not is_label_file(path)


def test_frames_and_a_single_channel(tmp_path):
    path = write(
        tmp_path / "a.zarr", VALUES[:, None], "tczyx", (1.0, 1.0, 2.0, 0.5, 0.5)
    )
    assert frame_count(path) == 2
    np.testing.assert_array_equal(read_image(path, frame=1).array, VALUES[1])
    with pytest.raises(ImageError, match="2 frames"):
        read_image(path)
    with pytest.raises(ImageError, match="no frame 2"):
        read_image(path, frame=2)


def test_colour_and_other_channels(tmp_path):
    values = VALUES[0].astype(np.uint8)
    channels = [{"color": c} for c in ("FF0000", "00FF00", "0000FF")]
    path = write(
        tmp_path / "a.zarr", values, "cyx", (1, 1, 1), omero={"channels": channels}
    )
    image = read_image(path)
    assert image.rgb
    np.testing.assert_array_equal(image.array, np.moveaxis(values, 0, -1))
    other = write(tmp_path / "b.zarr", values, "cyx", (1, 1, 1))
    with pytest.raises(ImageError, match="3 channels"):
        read_image(other)


def test_mask_with_names(tmp_path):
    label = {
        "colors": [{"label-value": 1, "rgba": [255, 0, 16, 255]}],
        "properties": [{"label-value": 1, "name": "cell"}, {"label-value": 2}],
    }
    path = write(
        tmp_path / "a.zarr", VALUES[0], "zyx", (1, 1, 1), **{"image-label": label}
    )
    assert is_label_file(path)
    (cell,) = read_labels(path).classes
    assert (cell.value, cell.name, cell.color) == (1, "cell", "#ff0010")


def test_no_unit(tmp_path):
    image = read_image(
        write(tmp_path / "a.zarr", VALUES[0], "zyx", (2, 1, 1), unit=None)
    )
    assert image.geometry.unit == "pixel"
    assert "no unit" in image.notes[0]


def test_what_is_larger_than_memory_stays_on_the_disk(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zarr", VALUES[0], "zyx", (2, 1, 1))
    monkeypatch.setattr(zarr_image, "available_memory", lambda: 200)
    image = read_image(path)
    assert isinstance(image.array, LazyArray)
    np.testing.assert_array_equal(image.array[1:2, :2], VALUES[0][1:2, :2])


def test_damaged(tmp_path):
    path = write(tmp_path / "a.zarr", VALUES[0], "zyx", (2, 1, 1))
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "x"}))
    with pytest.raises(ImageError, match="no OME-Zarr image"):
        read_image(path)
    path = write(tmp_path / "b.zarr", VALUES[0], "zyx", (2, 1, 1))
    chunk = next(file for file in (path / "0/c").rglob("*") if file.is_file())
    chunk.write_bytes(b"\1" * 100)
    with pytest.raises(ImageError, match="cannot be unpacked"):
        read_image(path)
    shutil.rmtree(path / "0")
    with pytest.raises(ImageError, match="no OME-Zarr image"):
        read_image(path)


def test_python_objects_are_not_unpacked(tmp_path):
    path = write(tmp_path / "a.zarr", VALUES[0], "zyx", (2, 1, 1), "0.4")
    file = path / "0/.zarray"
    described = json.loads(file.read_text())
    described["filters"] = [{"id": "pickle", "protocol": 5}]
    file.write_text(json.dumps(described))
    with pytest.raises(ImageError, match="not opened"):
        read_image(path)


def test_names_that_lead_out(tmp_path):
    path = write(tmp_path / "a.zarr", VALUES[0], "zyx", (2, 1, 1))
    described = json.loads((path / "zarr.json").read_text())
    described["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "../b"
    (path / "zarr.json").write_text(json.dumps(described))
    with pytest.raises(ImageError):
        read_image(path)
