"""What a file may claim."""

from __future__ import annotations

import pytest

from napari_medurwkv.errors import ImageError
from napari_medurwkv.io import limits


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(1000))
    return path


def test_a_truncated_file(file):
    limits.check_claim(file, 1000)
    with pytest.raises(ImageError, match="truncated"):
        limits.check_claim(file, 1001)


@pytest.mark.parametrize("ratio", [None, 1e9])
def test_a_bomb(file, ratio):
    limits.check_claim(file, limits.BOMB_SIZE, ratio=ratio)
    with pytest.raises(ImageError, match="exhaust memory"):
        limits.check_claim(file, limits.BOMB_SIZE + 1, ratio=ratio)
    # A large file may hold much.
    limits.check_claim(file, limits.BOMB_SIZE + 1, ratio=None, stored=1 << 26)


def test_more_than_memory(file, monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 500)
    with pytest.raises(ImageError, match="close other programs"):
        limits.check_claim(file, 501)
