"""Kept probabilities: the file, whose it is, and when it goes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from napari_medurwkv.errors import CancelledError, ImageError, OutputError
from napari_medurwkv.inference import probabilities as module
from napari_medurwkv.inference import segment
from napari_medurwkv.inference.probabilities import (
    Probabilities,
    Rule,
    new_cache_path,
    write_probabilities,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(module, "cache_folder", lambda: folder)
    return folder


@pytest.fixture
def rule():
    box = ((0, 4), (0, 5))
    return Rule("a" * 32, (4, 5), box, (0, 1), "softmax", 0.5, None, False)


def _write(path, rule, value=7):
    with write_probabilities(path, rule) as array:
        array[...] = value
    return path


def test_what_was_written_is_read(rule, tmp_path):
    kept = Probabilities(_write(tmp_path / "p", rule))
    assert kept.rule == rule
    assert kept.array.shape == (2, 4, 5)
    assert (kept.array == 7).all()
    assert not kept.array.flags.writeable


def test_those_of_another_run_are_refused(rule, tmp_path):
    path = _write(tmp_path / "p", rule)
    with pytest.raises(OutputError, match="another run"):
        Probabilities(path, "b" * 32)


def test_a_run_that_broke_off_leaves_no_file(rule, tmp_path):
    path = tmp_path / "p"
    with pytest.raises(ZeroDivisionError), write_probabilities(path, rule):
        raise ZeroDivisionError
    assert not path.exists()


def test_a_file_that_was_never_finished_is_refused(rule, tmp_path):
    path = tmp_path / "p"
    with write_probabilities(path, rule):
        copy = tmp_path / "copy"
        copy.write_bytes(path.read_bytes())
    with pytest.raises(OutputError, match="did not finish"):
        Probabilities(copy)


@pytest.mark.parametrize("damage", ["short", "long", "text", "header"])
def test_a_damaged_file_is_refused(damage, rule, tmp_path):
    path = _write(tmp_path / "p", rule)
    data = path.read_bytes()
    damaged = {
        "short": data[:-1],
        "long": data + b"x",
        "text": b"hello",
        "header": data.replace(b'"values"', b'"valuez"'),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(OutputError, match="no probabilities of this program"):
        Probabilities(path)


def test_an_existing_file_is_not_replaced(rule, tmp_path):
    path = tmp_path / "p"
    path.write_text("mine")
    with (
        pytest.raises(OutputError, match="exists already"),
        write_probabilities(path, rule),
    ):
        pass
    assert path.read_text() == "mine"


def test_a_full_disk_is_a_sentence_before_the_run(rule, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(module, "take_room", full)
    path = tmp_path / "p"
    with pytest.raises(OutputError, match="no room"), write_probabilities(path, rule):
        pytest.fail("the run has begun")
    assert not path.exists()


def test_room_is_taken_where_the_system_cannot_promise_it(rule, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with write_probabilities(tmp_path / "p", rule) as array:
        assert array.shape == (2, 4, 5)
        assert not array.any()


def test_too_much_is_refused(rule, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 39)
    with (
        pytest.raises(ImageError, match="part of the image"),
        write_probabilities(tmp_path / "p", rule),
    ):
        pass


def test_a_temporary_file_goes_with_its_object(rule, tmp_path):
    path = _write(tmp_path / "p", rule)
    kept = Probabilities(path, temporary=True)
    kept.close()
    assert kept.closed
    assert not path.exists()
    with pytest.raises(OutputError, match="run again"):
        _ = kept.array


def test_a_temporary_file_goes_with_the_program(cache):
    program = (
        "import sys, pathlib\n"
        "from napari_medurwkv.inference.probabilities import *\n"
        "rule = Rule('a' * 32, (2,), ((0, 2),), (0, 1), 'softmax', .5, None, False)\n"
        f"path = new_cache_path(pathlib.Path({str(cache)!r}))\n"
        "with write_probabilities(path, rule): pass\n"
        "kept = Probabilities(path, temporary=True)\n"
        "assert path.exists()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert list(cache.iterdir()) == []


def test_files_of_dead_programs_are_removed_and_others_stay(cache):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    cache.mkdir()
    left = cache / f"{dead.pid}-{'0' * 32}{module.SUFFIX}"
    mine = cache / f"{os.getpid()}-{'0' * 32}{module.SUFFIX}"
    other = cache / "notes.txt"
    for path in (left, mine, other):
        path.write_text("")
    new_cache_path()
    assert not left.exists()
    assert mine.exists()
    assert other.exists()


def test_a_run_keeps_what_it_computed(cache, card, model, networks, image, rng):
    picture = image(rng.random((70, 50)).astype(np.float32))
    fake = model(networks["convolution"](1, 3), card(output_values=(0, 1, 2)))
    result = segment(picture, fake, keep_probabilities=True)
    kept = result.probabilities
    assert kept.rule.run_id == result.record.run_id
    assert kept.path.parent == cache
    assert kept.array.shape == (3, 70, 50)
    total = kept.array.sum(0, dtype=int)
    assert abs(total - 255).max() <= 4
    # Of two runs, each has its own.
    again = segment(picture, fake, keep_probabilities=True)
    assert again.probabilities.path != kept.path
    with pytest.raises(OutputError, match="another run"):
        Probabilities(kept.path, again.record.run_id)
    path = kept.path
    del result, kept
    assert not path.exists()


def test_a_file_that_was_named_stays(tmp_path, card, model, networks, image, rng):
    picture = image(rng.random((40, 40)).astype(np.float32))
    fake = model(networks["threshold"](), card())
    path = tmp_path / "mine"
    result = segment(picture, fake, keep_probabilities=path)
    run_id = result.record.run_id
    del result
    Probabilities(path, run_id)


def test_keeping_changes_no_voxel(card, model, networks, image, rng):
    picture = image(rng.random((70, 50)).astype(np.float32))
    fake = model(networks["convolution"](1, 3), card(output_values=(0, 1, 2)))
    kept = segment(picture, fake, keep_probabilities=True, uncertainty=True)
    np.testing.assert_array_equal(kept.labels, segment(picture, fake).labels)


@pytest.mark.parametrize("keep_partial", [True, False])
def test_a_cancelled_run_keeps_no_probabilities(
    keep_partial, cache, card, model, networks, image, rng
):
    picture = image(rng.random((200, 50)).astype(np.float32))
    fake = model(networks["threshold"](), card())
    done = []

    def run():
        return segment(
            picture,
            fake,
            keep_probabilities=True,
            keep_partial=keep_partial,
            progress=done.append,
            cancel=lambda: len(done) >= 4,
        )

    if keep_partial:
        assert run().probabilities is None
    else:
        with pytest.raises(CancelledError):
            run()
    assert list(cache.iterdir()) == []
