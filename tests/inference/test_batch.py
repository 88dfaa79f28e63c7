"""Many images: one failure is one failure, and what is done is not done again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import zarr

from napari_medurwkv.checkpoints import save_checkpoint
from napari_medurwkv.errors import CancelledError, MedurwkvError
from napari_medurwkv.inference import batch, batch_item, segment
from napari_medurwkv.inference.batch import Places, run_batch
from napari_medurwkv.inference.batch_item import Options
from napari_medurwkv.inference.worklist import Entry, Item, Journal, list_items
from napari_medurwkv.io import read_labels
from napari_medurwkv.models import create_model

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "batch.py"
SMALL = {
    "embed_dim": 16,
    "depth": 4,
    "conv_inplane": 8,
    "bottleneck_dim": 16,
    "decoder_dims": [16, 16, 16],
    "final_dim": 8,
    "num_classes": 2,
    "in_channels": 1,
}


@pytest.fixture
def checkpoint(card, tmp_path):
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_model("med_urwkv_nano", **SMALL)
    the_card = card(architecture="med_urwkv_nano", config=SMALL, patch_size=(64, 64))
    return save_checkpoint(tmp_path / "small.safetensors", network, the_card)


@pytest.fixture
def pictures(tmp_path, rng):
    """Four pictures and a file that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        iio.imwrite(folder / f"{i}.png", rng.integers(0, 256, (70, 60), np.uint8))
    (folder / "2.png").write_text("no picture")
    return folder


@pytest.fixture
def work(pictures, checkpoint, tmp_path):
    out = tmp_path / "out"
    items = list_items(pictures, out)
    return items, Journal(out), Options(str(checkpoint), "cpu")


def _assert_masks(items, journal, checkpoint):
    for item in items:
        entry = journal.entry(item)
        if Path(item.image).name == "2.png":
            assert entry.state == "failed"
            assert "not a .png image" in entry.reason
            continue
        assert entry.state == "done"
        expected = segment(item.image, checkpoint, device="cpu").labels
        np.testing.assert_array_equal(iio.imread(entry.mask), expected)
        assert Path(entry.mask).with_suffix(".json").is_file()
        assert entry.measures[0]["voxels"] == np.count_nonzero(expected)


def test_one_failure_is_one_failure(work, checkpoint):
    items, journal, options = work
    told = []
    run_batch(
        items, journal, options, tell=lambda e, n, of: told.append((e.state, n, of))
    )
    assert told == [("done", 1, 4), ("done", 2, 4), ("failed", 3, 4), ("done", 4, 4)]
    _assert_masks(items, Journal(journal.path.parent), checkpoint)


@pytest.mark.parametrize("retry", [True, False])
def test_what_is_done_is_not_done_again(work, retry):
    items, journal, options = work
    run_batch(items, journal, options)
    before = {p: p.stat().st_mtime_ns for p in journal.path.parent.iterdir()}
    told = []
    run_batch(
        items,
        Journal(journal.path.parent),
        options,
        retry_failed=retry,
        tell=lambda e, n, of: told.append((Path(e.image).name, n, of)),
    )
    assert told == ([("2.png", 4, 4)] if retry else [])
    for path, time in before.items():
        assert path.stat().st_mtime_ns == time or path == journal.path


def test_a_model_is_loaded_once(work, monkeypatch):
    import napari_medurwkv.checkpoints as checkpoints

    batch_item._load.cache_clear()
    loaded = []
    load = checkpoints.load_model
    monkeypatch.setattr(
        checkpoints, "load_model", lambda name: loaded.append(name) or load(name)
    )
    run_batch(*work)
    assert len(loaded) == 1


def test_cancelling_keeps_what_is_done_and_says_how_to_go_on(work):
    items, journal, options = work
    done = []
    with pytest.raises(CancelledError, match="run it again with the same folder"):
        run_batch(
            items,
            journal,
            options,
            tell=lambda e, n, of: done.append(e),
            cancel=lambda: len(done) == 1,
        )
    assert len(done) == 1
    assert journal.is_done(items[0])
    assert not journal.is_done(items[1])


def test_a_file_of_another_program_is_not_replaced(work):
    items, journal, options = work
    foreign = Path(items[0].mask + ".json")
    foreign.write_text('{"SliceTiming": []}')
    run_batch(items, journal, options)
    assert "no record of this plugin" in journal.entry(items[0]).reason
    assert foreign.read_text() == '{"SliceTiming": []}'
    assert journal.is_done(items[1])


@pytest.mark.slow
def test_worker_processes_give_the_same_masks(work, checkpoint):
    items, journal, options = work
    run_batch(items, journal, options, Places(workers=2))
    _assert_masks(items, journal, checkpoint)


def test_an_image_at_which_workers_die_is_given_up_and_no_other(
    work, monkeypatch, tmp_path
):
    items, journal, options = work

    def pool(left, options, workers, stop):
        for item in left:
            if item is items[1]:
                raise batch._PoolDiedError([item])
            yield item, Entry(item.image, None, "done", mask=item.mask)

    monkeypatch.setattr(batch, "_one_pool", pool)
    run_batch(items, journal, options, Places(workers=2))
    states = [journal.entry(item).state for item in items]
    assert states == ["done", "failed", "done", "done"]
    assert "worker process ended" in journal.entry(items[1]).reason


def test_a_cluster_that_is_not_there_gets_a_sentence(work):
    items, journal, options = work
    with pytest.raises(MedurwkvError, match="No dask scheduler answers at nonsense"):
        run_batch(items, journal, options, Places(scheduler="nonsense://1"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it forks and reads /proc")
def test_nothing_is_lost_when_it_is_killed_again_and_again(tmp_path):
    """Also on two workers of a dask cluster, one of which is killed."""
    done = subprocess.run(
        [
            sys.executable,
            str(BENCHMARK),
            "--files=10",
            "--kills=8",
            f"--output={tmp_path}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "batch.md").read_text()
    assert "8 times ended with SIGKILL" in report
    assert "all masks as one by one" in report


def test_items_can_be_sent_to_other_processes():
    import pickle

    item = Item("/a.png", "/b", 3, "nuclei")
    assert pickle.loads(pickle.dumps(item)) == item
    assert pickle.loads(pickle.dumps(Options("a", tta=True))) == Options("a", tta=True)


@pytest.fixture
def slides(tmp_path, rng):
    folder = tmp_path / "slides"
    folder.mkdir()
    group = zarr.open_group(folder / "slide.zarr", mode="w", zarr_format=2)
    values = rng.integers(0, 256, (150, 90), np.uint8)
    group.create_array("0", shape=values.shape, dtype="u1", chunks=(64, 64))
    group["0"][...] = values
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    scale = [{"type": "scale", "scale": [0.5, 0.5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": datasets}
    ]
    return folder, values


@pytest.mark.parametrize("large", [False, True])
def test_zarr_gives_zarr(slides, checkpoint, tmp_path, monkeypatch, large):
    """Of an image larger than memory the mask does not go through memory."""
    from napari_medurwkv.io import pyramid_mask, zarr_image

    monkeypatch.setattr(zarr_image, "_is_large", lambda found: large)
    monkeypatch.setattr(pyramid_mask, "SMALLEST", 32)
    folder, values = slides
    out = tmp_path / "out"
    items, journal = list_items(folder, out), Journal(out)
    run_batch(items, journal, Options(str(checkpoint), "cpu"))
    (item,) = items
    entry = journal.entry(item)
    assert entry.state == "done", entry.reason
    assert entry.mask.endswith("slide_mask.ome.zarr")
    expected = segment(values, checkpoint, device="cpu").labels
    back = read_labels(entry.mask)
    np.testing.assert_array_equal(back.array, expected)
    assert back.geometry.display_spacing == (0.5, 0.5)
    assert [c.name for c in back.classes] == ["class 1"]
    assert entry.measures[0]["voxels"] == np.count_nonzero(expected)
    coarser = zarr.open_group(entry.mask, mode="r")["1"]
    steps = (4, 4) if large else (2, 1)
    np.testing.assert_array_equal(coarser[...], expected[:: steps[0], :: steps[1]])
    assert not list(out.rglob(".tmp-*"))
    assert (Path(entry.mask).parent / "slide_mask.json").is_file()
