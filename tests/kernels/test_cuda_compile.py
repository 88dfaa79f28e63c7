"""The cache of compiled CUDA kernels: tested without a GPU and without a compiler."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from napari_medurwkv.kernels import _cuda_compile
from napari_medurwkv.kernels._cuda_compile import CompilerError, machine_code

SOURCES = ("reduce.cu",)


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A compiler that keeps a list of what it was asked for; an empty cache."""
    asked = []

    def compile_(program, options, architecture):
        asked.append((program, tuple(options), architecture))
        return b"code %d" % len(asked)

    monkeypatch.setattr(_cuda_compile, "compile_program", compile_)
    monkeypatch.setattr(_cuda_compile, "cache_folder", lambda: tmp_path / "kernels")
    return asked


def test_compiled_once_then_kept(compiler):
    first = machine_code(SOURCES, {"RUN": 8}, "sm_90")
    assert machine_code(SOURCES, {"RUN": 8}, "sm_90") == first == b"code 1"
    assert len(compiler) == 1
    assert compiler[0][1:] == (("RUN=8",), "sm_90")


def test_each_program_has_its_own_place(compiler, monkeypatch):
    machine_code(SOURCES, {"RUN": 8}, "sm_90")
    machine_code(SOURCES, {"RUN": 16}, "sm_90")
    machine_code(SOURCES, {"RUN": 8}, "sm_80")
    machine_code(("bi_wkv.cu",), {"RUN": 8}, "sm_90")
    monkeypatch.setattr(_cuda_compile, "compiler_version", lambda: "another")
    machine_code(SOURCES, {"RUN": 8}, "sm_90")
    assert len(compiler) == 5


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_damaged_file_is_compiled_again(compiler, caplog, damage):
    machine_code(SOURCES, {}, "sm_90")
    (place,) = _cuda_compile.cache_folder().iterdir()
    content = place.read_bytes()
    damaged = {"cut": content[:-1], "changed": content[:-1] + b"!", "empty": b""}
    place.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        assert machine_code(SOURCES, {}, "sm_90") == b"code 2"
    assert "damaged" in caplog.text
    assert machine_code(SOURCES, {}, "sm_90") == b"code 2"


def test_many_at_once_leave_one_whole_file(compiler):
    with ThreadPoolExecutor(8) as pool:
        codes = set(pool.map(lambda _: machine_code(SOURCES, {}, "sm_90"), range(32)))
    (place,) = _cuda_compile.cache_folder().iterdir()
    assert machine_code(SOURCES, {}, "sm_90") in codes
    assert place.suffix == ".cubin"


def test_unwritable_cache_warns_and_works(compiler, monkeypatch, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr(_cuda_compile, "cache_folder", lambda: blocked / "kernels")
    with caplog.at_level(logging.WARNING):
        assert machine_code(SOURCES, {}, "sm_90") == b"code 1"
    assert "cannot be kept" in caplog.text


def test_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(_cuda_compile, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(
        _cuda_compile, "compiler_missing", lambda: "cuda-core is not installed"
    )
    with pytest.raises(CompilerError, match="cuda-core is not installed"):
        machine_code(SOURCES, {}, "sm_90")
