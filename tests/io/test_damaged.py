"""Two hundred damaged files: a sentence each, little memory, and no file changed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("damaged.py")
_spec = importlib.util.spec_from_file_location("damaged", SCRIPT)
damaged = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(damaged)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is bounded and counted as Linux does"
)


def digests(folder):
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    files = damaged.sound_files(folder / "sound")
    damaged.damage(folder / "damaged", files)
    before = digests(folder)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder / "damaged")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr, before, digests(folder)


def test_each_gives_an_image_or_a_sentence(outcome):
    came = outcome[0]["came"]
    assert len(came) >= 200
    for name, said in came.items():
        for text in said:
            assert not text.startswith("!!!"), (name, text)
            if text != "read":
                assert text.endswith("."), (name, text)
                assert "\n" not in text, (name, text)
                assert "Traceback" not in text
                assert len(text) < 700


def test_most_are_refused(outcome):
    refused = [name for name, said in outcome[0]["came"].items() if said[0] != "read"]
    assert len(refused) > 100


def test_memory_stays_under_the_cap(outcome):
    assert outcome[0]["memory"] < damaged.CAP


def test_nothing_is_printed_by_python(outcome):
    assert "Traceback" not in outcome[1]
    assert "Warning" not in outcome[1]


def test_no_file_was_changed(outcome):
    assert outcome[2] == outcome[3]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("huge.nii", "truncated or damaged"),
        ("huge.nii.gz", "truncated or damaged"),
        ("bomb.nii.gz", "exhaust memory|truncated or damaged"),
        ("zero.nii", "empty"),
        ("huge.nrrd", "truncated or damaged"),
        ("bomb.nrrd", "exhaust memory|truncated or damaged"),
        ("zero.nrrd", "empty"),
        ("neg.nrrd", "damaged"),
        ("huge.mha", "truncated or damaged"),
        ("zero.mha", "empty"),
        ("outside.mhd", "outside its folder"),
        ("no_rows.dcm", "holds no image"),
        ("no_bits.dcm", "damaged DICOM header"),
        ("huge_rows.dcm", "truncated or damaged"),
        ("many_frames.dcm", "2000000 frames"),
        ("bomb.png", "exhaust memory"),
        ("float_nan.tif", "no finite value"),
        ("flip0_print.jpg", "print|damaged"),
        ("text.dcm", "another kind"),
        ("executable.dcm", "holds no image|damaged"),
    ],
)
def test_the_sentence_says_what_is_wrong(outcome, name, words):
    import re

    said = outcome[0]["came"][name][0]
    assert re.search(words, said), said
