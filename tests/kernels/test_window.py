"""Windows are summed more slowly without the compiled library, and it is said."""

from __future__ import annotations

import logging

import pytest
from napari_medurwkv.kernels import _native, window_kernels


@pytest.fixture(autouse=True)
def fresh():
    window_kernels.cache_clear()
    yield
    window_kernels.cache_clear()


def test_a_missing_library_is_told_once(monkeypatch, caplog):
    monkeypatch.setattr(_native, "load", lambda: "the library is out of date")
    with caplog.at_level(logging.WARNING):
        assert window_kernels() is None
        assert window_kernels() is None
    (record,) = caplog.records
    assert "the library is out of date" in record.getMessage()
