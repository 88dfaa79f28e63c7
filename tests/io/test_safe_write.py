"""A target is either as before or complete, whatever happens while writing."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from napari_medurwkv.errors import OutputError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.io import write_labels, write_safely, write_text_safely

OLD = b"what was there before"


def fill(path):
    path.write_bytes(b"new content")


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "mask.bin"
    path.write_bytes(OLD)
    return path


def assert_untouched(target):
    assert target.read_bytes() == OLD
    assert list(target.parent.iterdir()) == [target]


def test_a_new_file_appears_complete(tmp_path):
    path = tmp_path / "new.txt"
    seen = []

    def write(part):
        assert part.parent == tmp_path
        assert part.suffix == ".txt"
        assert not path.exists()
        fill(part)

    assert write_safely(str(path), write, lambda part: seen.append(part.read_bytes()))
    assert seen == [b"new content"]
    assert path.read_bytes() == b"new content"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_replaced_only_when_allowed(target):
    with pytest.raises(OutputError, match="exists already"):
        write_safely(target, fill)
    assert_untouched(target)
    write_safely(target, fill, overwrite=True)
    assert target.read_bytes() == b"new content"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "late.txt"

    def write(part):
        fill(part)
        path.write_bytes(OLD)

    with pytest.raises(OutputError, match="exists already"):
        write_safely(path, write)
    assert_untouched(path)


def test_a_failed_check_leaves_all_as_it_was(target):
    def check(part):
        raise OutputError("not what was meant")

    with pytest.raises(OutputError, match="not what was meant"):
        write_safely(target, fill, check, overwrite=True)
    assert_untouched(target)


def test_any_other_failure_leaves_all_as_it_was(target):
    def write(part):
        fill(part)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        write_safely(target, write, overwrite=True)
    assert_untouched(target)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not be written to"),
        (errno.EPERM, "may not be written to"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_every_failure_of_the_disk_has_its_sentence(number, words, target):
    def write(part):
        part.write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=words) as caught:
        write_safely(target, write, overwrite=True)
    assert "\n" not in str(caught.value)
    assert str(target) in str(caught.value)
    assert_untouched(target)


def test_no_space_that_shows_only_at_the_flush(target, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        write_safely(target, fill, overwrite=True)
    assert_untouched(target)


def test_a_read_only_folder(tmp_path, monkeypatch):
    # Permission bits do not stop an administrator, so the refusal is played.
    opened = Path.open

    def refuse(self, mode="r", *args, **kwargs):
        if "w" in mode and self.parent == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    geometry = Geometry.from_affine(np.eye(4), (3, 4, 5))
    labels = np.zeros(geometry.display_shape, np.uint8)
    with pytest.raises(OutputError, match="this folder may not be written to"):
        write_labels(tmp_path / "mask.nii.gz", labels, geometry)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="an administrator may write anywhere")
def test_a_really_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="this folder may not be written to"):
            write_text_safely(tmp_path / "record.json", "{}")
    finally:
        tmp_path.chmod(0o700)


def test_places_that_cannot_be(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_text_safely(tmp_path / "nowhere" / "record.json", "{}")
    with pytest.raises(OutputError, match="is a folder"):
        write_text_safely(tmp_path, "{}", overwrite=True)
    with pytest.raises(OutputError, match="too long"):
        write_text_safely(tmp_path / ("x" * 300), "{}")
    long = tmp_path / f"{'x' * 240}.nii.gz"
    assert write_text_safely(long, "{}").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz", "mask.tif", "mask.png"])
def test_a_disk_that_really_takes_no_more(name, tmp_path):
    """The kernel itself stops the write: the largest file size of the process."""
    ndim = 2 if name.endswith("png") else 3
    shape = (300, 300, 3)[:ndim]
    labels = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    geometry = Geometry.plain(shape)
    path = tmp_path / name
    path.write_bytes(OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match="larger than the disk allows"):
            write_labels(path, labels, geometry, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_untouched(path)
    write_labels(path, labels, geometry, overwrite=True)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB, where the system lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a small disk needs an administrator")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    labels = np.random.default_rng(0).integers(0, 200, (400, 400)).astype(np.uint8)
    path = small_disk / "mask.nii.gz"
    path.write_bytes(OLD)
    with pytest.raises(OutputError, match="no space left"):
        write_labels(path, labels, Geometry.plain(labels.shape), overwrite=True)
    assert_untouched(path)


def test_a_process_killed_while_writing_leaves_the_old_file(target):
    script = textwrap.dedent(
        f"""
        import os, signal
        from napari_medurwkv.io import write_safely

        def write(part):
            with part.open("wb") as stream:
                stream.write(b"half")
                stream.flush()
                os.kill(os.getpid(), signal.SIGKILL)

        write_safely({str(target)!r}, write, overwrite=True)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == OLD


def test_a_link_is_followed_and_stays(target):
    link = target.with_name("link.bin")
    link.symlink_to(target)
    assert write_safely(link, fill, overwrite=True) == link
    assert link.is_symlink()
    assert target.read_bytes() == b"new content"


def test_text_comes_back_as_written(tmp_path):
    path = tmp_path / "record.json"
    text = '{"size": "0.5 µm"}\n'
    assert write_text_safely(path, text) == path
    assert path.read_bytes() == text.encode()
    with pytest.raises(OutputError, match="exists already"):
        write_text_safely(path, text)


def test_text_that_the_disk_garbles_is_refused(target, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"garbage")
    with pytest.raises(OutputError, match="did not come back"):
        write_text_safely(target, "text", overwrite=True)
    monkeypatch.undo()
    assert_untouched(target)
