"""``medurwkv batch``: a folder in, masks and a table out, and again."""

from __future__ import annotations

import json

import imageio.v3 as iio
import numpy as np
import pytest


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        picture = rng.integers(0, 256, (40, 50, 3), np.uint8)
        iio.imwrite(folder / f"{name}.png", picture)
    return folder


def test_it_segments_all_and_goes_on(medurwkv, embedded, pictures, tmp_path):
    out = tmp_path / "out"
    first = medurwkv("batch", pictures, out, "--device", "cpu", "--json")
    report = json.loads(first.stdout)
    assert report["counts"] == {"done": 2}
    assert {row["name"] for row in report["rows"]} == {"nucleus"}
    assert (out / "a_mask.png").is_file()
    assert (out / "summary.csv").is_file()
    assert "1/2" in first.stderr
    second = medurwkv("batch", pictures, out, "--device", "cpu")
    assert "1/2" not in second.stderr
    assert "2 done, 0 failed" in second.stderr


def test_what_failed_is_told_and_gives_another_exit_code(
    medurwkv, embedded, pictures, tmp_path
):
    (pictures / "broken.png").write_text("no picture")
    done = medurwkv("batch", pictures, tmp_path / "out", "--device", "cpu", code=1)
    assert "2 done, 1 failed" in done.stderr
    assert "failed:" in done.stderr


def test_a_folder_without_images_gets_a_sentence(medurwkv, embedded, tmp_path):
    (tmp_path / "empty").mkdir()
    done = medurwkv("batch", tmp_path / "empty", tmp_path / "out", code=1)
    assert "There is no image in" in done.stderr
