from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from napari_medurwkv.correction import journal as module
from napari_medurwkv.correction.classes import LabelClass
from napari_medurwkv.correction.journal import (
    Journal,
    Snapshot,
    find_entries,
    journal_folder,
    tidy,
)
from napari_medurwkv.errors import OutputError

CLASSES = (LabelClass(1, "liver", "#e69f00", locked=True),)


def snapshot(seed=0, dtype=np.uint8, shape=(7, 11, 13)):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, shape).astype(dtype)
    return Snapshot(labels, rng.random(shape) < 0.3, CLASSES, {"name": f"case {seed}"})


def same(first, second):
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.labels.dtype == second.labels.dtype
    np.testing.assert_array_equal(first.marks, second.marks)
    assert first.classes == second.classes
    assert dict(first.details) == dict(second.details)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize("slab", [64, 1 << 22])
def test_what_was_kept_comes_back(tmp_path, dtype, slab, monkeypatch):
    monkeypatch.setattr(module, "_SLAB_BYTES", slab)
    kept = snapshot(1, dtype)
    own = Journal("image", tmp_path)
    own.save(kept)
    assert find_entries(tmp_path) == ()  # somebody is at work on it
    own.close()
    (entry,) = find_entries(tmp_path)
    same(entry.load(), kept)
    assert abs(entry.saved - time.time()) < 60
    assert entry.details["name"] == "case 1"


def test_two_generations_take_turns(tmp_path):
    own = Journal("image", tmp_path)
    first = own.save(snapshot(1))
    second = own.save(snapshot(2))
    third = own.save(snapshot(3))
    own.close()
    assert first == third != second
    (entry,) = find_entries(tmp_path)
    assert entry.details["name"] == "case 3"


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_generation_leaves_the_other(tmp_path, damage):
    own = Journal("image", tmp_path)
    own.save(snapshot(1))
    newest = own.save(snapshot(2))
    own.close()
    data = bytearray(newest.read_bytes())
    if damage == "cut":
        data = data[:-40]
    elif damage == "flip":
        data[len(data) // 2] ^= 1
    else:
        data = bytearray()
    newest.write_bytes(data)
    (entry,) = find_entries(tmp_path)
    same(entry.load(), snapshot(1))


def test_what_another_session_left_is_not_written_over(tmp_path):
    before = Journal("image", tmp_path)
    before.save(snapshot(1))
    before.close()
    now = Journal("image", tmp_path)
    now.save(snapshot(2))
    now.save(snapshot(3))
    assert [e.details["name"] for e in find_entries(tmp_path)] == ["case 1"]
    now.close()
    names = [e.details["name"] for e in find_entries(tmp_path)]
    assert names == ["case 3", "case 1"]


def test_a_full_disk_is_told_and_harms_nothing(tmp_path, monkeypatch):
    own = Journal("image", tmp_path)
    own.save(snapshot(1))

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    for _ in range(2):
        with pytest.raises(OutputError, match="no space left"):
            own.save(snapshot(2))
    own.close()
    (entry,) = find_entries(tmp_path)
    same(entry.load(), snapshot(1))
    assert not list(tmp_path.rglob(".tmp*"))


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="save the mask often"):
        Journal("image", tmp_path / "file")


def test_a_saved_mask_needs_no_journal(tmp_path):
    own = Journal("image", tmp_path)
    own.save(snapshot(1))
    own.discard()
    assert own.saved is None
    own.close()
    assert find_entries(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_an_entry_can_be_discarded(tmp_path):
    own = Journal("image", tmp_path)
    own.save(snapshot(1))
    own.close()
    (entry,) = find_entries(tmp_path)
    entry.discard()
    assert find_entries(tmp_path) == ()
    with pytest.raises(OutputError, match="damaged"):
        entry.load()


def test_old_and_large_journals_go_but_none_in_use(tmp_path):
    for k in range(4):
        own = Journal(f"image {k}", tmp_path)
        path = own.save(snapshot(k))
        own.close()
        os.utime(path, (time.time() - 86400 * k,) * 2)
    busy = Journal("busy", tmp_path)
    os.utime(busy.save(snapshot(9)), (0, 0))
    size = path.stat().st_size
    assert tidy(tmp_path, most_days=2.5) == 1
    assert tidy(tmp_path, most_bytes=int(2.2 * size)) == 1
    names = [e.details["name"] for e in find_entries(tmp_path)]
    assert sorted(names) == ["case 0", "case 1"]
    busy.close()
    assert "case 9" in [e.details["name"] for e in find_entries(tmp_path)]


def test_names_of_folders_tell_nothing(tmp_path):
    own = Journal("Miller, John", tmp_path)
    own.save(snapshot(1))
    assert "Miller" not in str(list(tmp_path.rglob("*")))
    own.close()


def test_journals_lie_in_the_state_folder():
    assert journal_folder().name == "journal"
    assert "napari-medurwkv" in str(journal_folder())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_process_killed_in_the_middle_of_saving_loses_nothing(tmp_path):
    """Whatever the moment, one of the two last saved states is there, whole."""
    code = textwrap.dedent(
        """
        import sys, numpy as np
        from pathlib import Path
        from napari_medurwkv.correction.journal import Journal, Snapshot
        own = Journal("image", Path(sys.argv[1]))
        for k in range(10**6):
            labels = np.full((40, 64, 64), k % 250, np.uint8)
            labels[::2] = np.random.default_rng(k).integers(0, 250, (20, 64, 64))
            own.save(Snapshot(labels, labels == 3, (), {"k": k}))
            print(k, flush=True)
        """
    )
    for round_ in range(3):
        folder = tmp_path / str(round_)
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE
        )
        with child:
            for _ in range(4 + round_):
                child.stdout.readline()
            time.sleep(0.003 * round_)
            child.send_signal(signal.SIGKILL)
            told = child.stdout.read().split()
        last = int(told[-1]) if told else 3 + round_
        (entry,) = find_entries(folder)
        k = entry.details["k"]
        assert last <= k <= last + 1
        loaded = entry.load()
        assert (loaded.labels[1::2] == k % 250).all()
        np.testing.assert_array_equal(loaded.marks, loaded.labels == 3)
        tidy(folder)
        assert not list(folder.rglob(".tmp*"))
