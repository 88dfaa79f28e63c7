"""Two folders change place, at once or with the old one waiting aside."""

from __future__ import annotations

import errno

import pytest

from napari_medurwkv.io import swap as module
from napari_medurwkv.io.swap import swap


@pytest.fixture
def folders(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    for folder in (new, old):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    return new, old


def contents(folders):
    return [(folder / "name").read_text() for folder in folders]


def test_folders_change_place(folders):
    swap(*folders)
    assert contents(folders) == ["old", "new"]


def test_where_the_system_cannot_do_it_at_once(folders, monkeypatch):
    monkeypatch.setattr(module, "_exchange", lambda first, second: False)
    swap(*folders)
    assert contents(folders) == ["old", "new"]
    assert not folders[1].with_name("old.before").exists()


def test_a_failure_leaves_both(folders, monkeypatch):
    monkeypatch.setattr(module, "_exchange", lambda first, second: False)
    real = module.os.rename

    def broken(source, target):
        if source == folders[0]:
            raise OSError(errno.EIO, "broken")
        real(source, target)

    monkeypatch.setattr(module.os, "rename", broken)
    with pytest.raises(OSError, match="broken"):
        swap(*folders)
    assert contents(folders) == ["new", "old"]


def test_what_is_missing_is_an_error(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(OSError):
        swap(tmp_path / "new", tmp_path / "old")
