"""What a batch has to do, and what is left of it after a sudden end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_medurwkv.errors import ImageError, OutputError
from napari_medurwkv.inference.summary import COLUMNS, summary_rows, write_summary
from napari_medurwkv.inference.worklist import (
    Entry,
    Item,
    Journal,
    list_items,
    remove_leftovers,
)


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "images"
    for name in ("b.png", "a.nii.gz", "deep/er/c.TIF", "notes.txt", ".hidden.png"):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (source / "pyramid.zarr" / "0").mkdir(parents=True)
    return source


def test_a_folder_is_searched_with_its_subfolders(folder, tmp_path):
    out = tmp_path / "out"
    items = list_items(folder, out)
    assert [Path(i.image).relative_to(folder).as_posix() for i in items] == [
        "a.nii.gz",
        "b.png",
        "deep/er/c.TIF",
        "pyramid.zarr",
    ]
    assert [Path(i.mask).relative_to(out).as_posix() for i in items] == [
        "a_mask",
        "b_mask",
        "deep/er/c_mask",
        "pyramid_mask",
    ]


def test_masks_in_a_folder_inside_are_no_images(folder):
    out = folder / "masks"
    out.mkdir()
    (out / "b_mask.png").touch()
    assert len(list_items(folder, out)) == 4


def test_a_table_names_images_frames_masks_and_models(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text(
        "\ufeffimage,frame,mask,model,group\n"
        "scans/a.nii.gz,2,first.nii.gz,brain-tissue,x\n"
        "scans/a.nii.gz,3,,,y\n"
        ",,,,\n",
        "utf-8",
    )
    first, second = list_items(table, tmp_path / "out")
    assert first.image == str(tmp_path / "scans" / "a.nii.gz")
    assert (first.frame, first.model) == (2, "brain-tissue")
    assert first.mask == str(tmp_path / "out" / "first")
    assert (second.frame, second.model) == (3, None)
    assert second.mask == str(tmp_path / "out" / "scans" / "a_frame3_mask")


def test_a_text_file_has_a_path_a_line(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text(f"# mine\n\na.png\n{tmp_path.parent / 'b.png'}\n")
    items = list_items(file, tmp_path / "out")
    assert [Path(i.mask).name for i in items] == ["a_mask", "b_mask"]
    assert Path(items[1].mask).parent == tmp_path / "out"


@pytest.mark.parametrize(
    ("name", "text", "error", "sentence"),
    [
        ("gone.csv", None, ImageError, "does not exist"),
        ("list.csv", "file\na.png\n", ImageError, 'no column "image"'),
        ("list.csv", "image,frame\na.png,first\n", ImageError, 'frame "first"'),
        ("list.csv", "image\n", ImageError, "no image"),
        ("list.txt", "a.png\na.jpg\n", OutputError, "the same mask"),
    ],
)
def test_a_list_that_makes_no_sense_gets_its_sentence(
    name, text, error, sentence, tmp_path
):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=sentence):
        list_items(tmp_path / name, tmp_path / "out")


def _item(tmp_path, number=0):
    return Item(f"/images/{number}.png", str(tmp_path / f"{number}_mask"))


def _done(tmp_path, item):
    mask = Path(item.mask + ".png")
    mask.touch()
    measure = {"value": 1, "name": "x", "voxels": 5, "size": 2.5, "unit": "mm²"}
    return Entry(item.image, None, "done", "", str(mask), "small", 1.5, (measure,))


def test_what_is_done_is_known_again(tmp_path):
    item, other = _item(tmp_path), _item(tmp_path, 1)
    journal = Journal(tmp_path)
    assert journal.entry(item) is None
    journal.add(_done(tmp_path, item))
    journal.add(Entry(other.image, None, "failed", "It is broken."))
    again = Journal(tmp_path)
    assert again.is_done(item)
    assert again.entry(item) == _done(tmp_path, item)
    assert not again.is_done(other)
    assert again.entry(other).reason == "It is broken."


def test_a_mask_that_has_gone_is_not_done(tmp_path):
    item = _item(tmp_path)
    journal = Journal(tmp_path)
    journal.add(_done(tmp_path, item))
    Path(item.mask + ".png").unlink()
    assert not Journal(tmp_path).is_done(item)


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_line_that_was_cut_off_is_left_out_and_harms_no_other(cut, tmp_path):
    first, second, third = (_item(tmp_path, i) for i in range(3))
    journal = Journal(tmp_path)
    journal.add(_done(tmp_path, first))
    journal.add(_done(tmp_path, second))
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-cut])
    after = Journal(tmp_path)
    assert after.is_done(first)
    # Without its line feed alone, the line is whole.
    assert after.is_done(second) == (cut == 1)
    after.add(_done(tmp_path, third))
    last = Journal(tmp_path)
    assert last.is_done(first)
    assert last.is_done(third)


def test_a_folder_that_cannot_be_made_gets_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be used"):
        Journal(tmp_path / "file" / "out")


def test_the_summary_has_a_line_per_class(tmp_path):
    items = [_item(tmp_path, i) for i in range(3)]
    journal = Journal(tmp_path)
    journal.add(_done(tmp_path, items[0]))
    journal.add(Entry(items[1].image, None, "failed", "It is broken."))
    rows = summary_rows(items, journal)
    assert [row["state"] for row in rows] == ["done", "failed", "to do"]
    assert rows[0]["size"] == 2.5
    assert rows[0]["unit"] == "mm²"
    assert rows[1]["reason"] == "It is broken."
    table, parquet = write_summary(items, journal, tmp_path)
    lines = table.read_text("utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 4
    import pyarrow.parquet as pq

    assert pq.read_table(parquet).to_pylist() == rows


@pytest.mark.skipif(os.name == "nt", reason="other programs' files stay there")
def test_unfinished_files_of_programs_that_are_gone_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "deep").mkdir()
    left = tmp_path / "deep" / f".tmp-{gone.pid}-ab.nii.gz"
    ours = tmp_path / f".tmp-{os.getpid()}-ab.nii.gz"
    other = tmp_path / ".tmp-something"
    for path in (left, ours, other):
        path.touch()
    assert remove_leftovers(tmp_path) == 1
    assert not left.exists()
    assert ours.exists()
    assert other.exists()


def test_a_folder_of_slices_is_one_image(tmp_path):
    for name in ("ct/a.dcm", "ct/b.dcm", "more/pet/IM0"):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(128) + b"DICM")
    items = list_items(tmp_path / "in", tmp_path / "out")
    assert [Path(i.image).name for i in items] == ["ct", "pet"]
    assert [Path(i.mask).name for i in items] == ["ct_mask", "pet_mask"]
    (alone,) = list_items(tmp_path / "in/ct", tmp_path / "out")
    assert Path(alone.image).name == "ct"
