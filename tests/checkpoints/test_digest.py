"""Digests: of the file that was read, computed once, waited for only when asked."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from napari_medurwkv.checkpoints import digest as module
from napari_medurwkv.checkpoints import load_model
from napari_medurwkv.checkpoints.digest import begin_digest, file_digest, file_state
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


class Gate:
    """Stands for SHA-256 and does not come back before it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = threading.Event()

    def __call__(self, data: Any) -> Any:
        self.calls += 1
        assert self.open.wait(10)
        return hashlib.new("sha256", data)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    gate = Gate()
    monkeypatch.setattr(module.hashlib, "sha256", gate)
    yield gate
    gate.open.set()


def expected(path: Path) -> str:
    return hashlib.new("sha256", path.read_bytes()).hexdigest()


@pytest.mark.parametrize("content", [b"", b"some bytes" * 100_000])
def test_mapped_or_read_it_is_the_same(tmp_path: Path, content: bytes) -> None:
    mapped, read = tmp_path / "mapped", tmp_path / "read"
    mapped.write_bytes(content)
    read.write_bytes(content)
    assert begin_digest(mapped).result() == file_digest(read) == expected(read)
    mapped.write_bytes(content + b"!")
    assert begin_digest(mapped).result() == expected(mapped) != file_digest(read)


def test_loading_does_not_wait_for_it(checkpoint: Path, gate: Gate) -> None:
    model = load_model(checkpoint)
    assert model.card.title
    gate.open.set()
    assert model.sha256 == expected(checkpoint)


def test_it_is_computed_once(checkpoint: Path, gate: Gate) -> None:
    first, second = load_model(checkpoint), load_model(checkpoint)
    gate.open.set()
    assert first.sha256 == second.sha256 == file_digest(checkpoint)
    assert gate.calls == 1


def test_it_is_of_the_file_that_was_loaded(checkpoint: Path, gate: Gate) -> None:
    old = expected(checkpoint)
    model = load_model(checkpoint)
    other = checkpoint.with_name("other")
    other.write_bytes(checkpoint.read_bytes() + b"!")
    os.replace(other, checkpoint)
    gate.open.set()
    assert model.sha256 == old != file_digest(checkpoint)


def test_a_file_that_is_written_to_meanwhile_is_told(
    tmp_path: Path, gate: Gate
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"some bytes")
    pending = begin_digest(path)
    path.write_bytes(b"other bytes")
    os.utime(path, ns=(1, 1))
    gate.open.set()
    with pytest.raises(CheckpointError, match="a changed while it was read"):
        pending.result()
    # What failed is not kept.
    os.utime(path, ns=(pending.state[3], pending.state[3]))
    assert begin_digest(path).result() == expected(path)


def test_a_disk_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(5, "Input/output error")

    path = tmp_path / "a"
    path.write_bytes(b"some bytes")
    monkeypatch.setattr(module.mmap, "mmap", fail)
    with pytest.raises(CheckpointError, match="Input/output error"):
        begin_digest(path).result()


def test_a_state_tells_files_apart(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"some bytes")
    other.write_bytes(b"same bytes")
    os.utime(other, ns=(path.stat().st_mtime_ns,) * 2)
    before = file_state(path)
    digest = file_digest(path)
    os.replace(other, path)
    assert file_state(path) != before
    assert file_digest(path) != digest


def test_it_travels_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"some bytes")
    assert pickle.loads(pickle.dumps(begin_digest(path))) == expected(path)
