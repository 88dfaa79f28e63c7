"""Whatever the bytes are, reading a header ends in a header or in one sentence."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from napari_medurwkv.checkpoints.container import parse_header, read_header, sniff
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

quick = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def join(fields: Any, body: bytes = b"") -> bytes:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor(start: int, stop: int, shape: list[Any], dtype: str = "F16") -> Any:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def refusal(path: Path, data: bytes | None = None) -> str:
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    text = str(caught.value)
    assert path.name in text
    assert len(text) < 500
    return text


def test_sound_header(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    fields = {
        "__metadata__": {"format": "pt"},
        "b": tensor(4, 12, [1], "I64"),
        "a": tensor(0, 4, [2, 1]),
        "none": tensor(4, 4, [0, 3], "F32"),
    }
    path.write_bytes(join(fields, bytes(12)))
    header = read_header(path)
    assert header.metadata == {"format": "pt"}
    assert header.tensors["a"].shape == (2, 1)
    assert header.tensors["a"].kind == "floating point"
    assert header.tensors["b"].kind == "int64"
    assert header.tensors["b"].start == 4


def test_what_the_library_writes_is_sound(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    types = [torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.uint8]
    save_file({str(t): torch.ones(3, 2, dtype=t) for t in types}, path)
    assert {t.shape for t in read_header(path).tensors.values()} == {(3, 2)}


def test_missing_folder_and_unreadable(tmp_path: Path) -> None:
    assert "There is no checkpoint file" in refusal(tmp_path / "none.safetensors")
    assert "is a folder" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / ("n" * 300))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_header(tmp_path / "nul\0.safetensors")
    with pytest.raises(CheckpointError, match="no ordinary file"):
        read_header(Path("/dev/null"))


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(join({}))

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5"),
        (b"\x1f\x8b\x08" + bytes(600), "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"<!DOCTYPE html><title>404</title>", "text file"),
        ("Größe".encode(), "text file"),
        (b"{}", "text file"),
        (b"\x00\x01\x02", "is no checkpoint"),
        (bytes(600), "is no checkpoint"),
        ((2**62).to_bytes(8, "little") + b"{" + bytes(600), "is no checkpoint"),
        (join({"a": 1})[:-1], "is truncated: its header alone"),
        (join({"a": tensor(0, 8, [4])}, bytes(3)), "truncated: 5 bytes of its tensors"),
        (join({"a": tensor(0, 8, [4])}, bytes(9)), "1 bytes more"),
        (join(b"{'a': 1}"), "not valid JSON"),
        (join(b'{"\xff": 1}'), "not valid JSON"),
        (join(b"{" + b'"a":[' * 100_000), "not valid JSON"),
        (join(b'{"a": {}, "a": {}}'), "a name occurs twice"),
        (join({"__metadata__": {"a": 1}}), "metadata are not texts"),
        (join({"__metadata__": []}), "metadata are not texts"),
        (join({"a": 1}), "lacks type, shape or offsets"),
        (join({"a": {"dtype": "F16"}}), "lacks type, shape or offsets"),
        (join({"a": tensor(0, 4, [2], "F4")}, bytes(4)), "stored as 'F4'"),
        (join({"a": tensor(0, 4, [2], [])}, bytes(4)), "stored as"),  # type: ignore[arg-type]
        (join({"a": tensor(0, 4, [-2])}, bytes(4)), "shape of tensor 'a'"),
        (join({"a": tensor(0, 4, [True])}, bytes(4)), "shape of tensor 'a'"),
        (join({"a": tensor(0, 4, [2.0])}, bytes(4)), "shape of tensor 'a'"),
        (join({"a": tensor(0, 2, [1] * 17)}, bytes(2)), "shape of tensor 'a'"),
        (join({"a": tensor(0, 6, [2])}, bytes(6)), "do not agree with its shape"),
        (join({"a": tensor(4, 0, [2])}, bytes(4)), "do not agree with its shape"),
        (join({"a": tensor(-4, 0, [2])}, bytes(4)), "do not agree with its shape"),
        (join({"a": tensor(0, 2**63, [2**62])}), "is truncated"),
        (
            join({"a": tensor(0, 4, [2]), "b": tensor(2, 6, [2])}, bytes(6)),
            "overlaps another or leaves a gap",
        ),
        (
            join({"a": tensor(0, 4, [2]), "b": tensor(6, 8, [1])}, bytes(8)),
            "overlaps another or leaves a gap",
        ),
        (join({"a" * 90_000: 1}), "lacks type"),
    ],
)
def test_refusals(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refusal(tmp_path / "a.safetensors", data)


class Evil:
    """Writes a file when somebody unpickles it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.write_text, (self.target, "run")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_never_opened(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "ran"
    data = pickle.dumps(Evil(target), protocol)
    assert "can run any program" in refusal(tmp_path / "a.pth", data)
    assert "is a bare pickle" in refusal(tmp_path / "a.safetensors", data)
    with pytest.raises(CheckpointError, match="is a bare pickle"):
        sniff(tmp_path / "a.pth")
    assert not target.exists()


def test_archives_of_torch_have_no_safetensors_header(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    assert "is an archive as torch writes it" in refusal(path)
    assert sniff(path) == "torch"


def test_length_that_looks_like_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = b"{}".ljust(0x280)
    path.write_bytes(join(text))
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert read_header(path).tensors == {}


@quick
@given(st.binary(max_size=200))
@example(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    outcome(lambda: read_header(path))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["F16", "I64", "dtype", "shape", "data_offsets", 0, 2, 8]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@quick
@given(json_values, st.integers(0, 64))
def test_any_json(fields: Any, size: int) -> None:
    outcome(lambda: parse_header(json.dumps(fields).encode(), size, "a"))


@quick
@given(st.data())
def test_any_damage_of_a_sound_file(tmp_path: Path, data: st.DataObject) -> None:
    fields = {
        "__metadata__": {"format": "pt"},
        "a": tensor(0, 4, [2, 1]),
        "b": tensor(4, 12, [1], "I64"),
    }
    content = bytearray(join(fields, bytes(12)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path / "a.safetensors"
    path.write_bytes(content[:cut] if data.draw(st.booleans()) else content)
    outcome(lambda: read_header(path))


def outcome(act: Callable[[], Any]) -> None:
    """Run; a clear refusal is as good as success, anything else fails the test."""
    try:
        act()
    except CheckpointError as error:
        assert str(error).endswith(".")
        assert str(error).encode("utf-8")
