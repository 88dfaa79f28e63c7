from __future__ import annotations

import datetime
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import dask.array
import numpy as np
import pytest
import torch
import zarr

from napari_medurwkv.checkpoints import ModelCard, save_checkpoint
from napari_medurwkv.errors import (
    CancelledError,
    CheckpointError,
    DeviceError,
    GeometryError,
    ImageError,
    OutputError,
)
from napari_medurwkv.inference import probabilities, segment, serve
from napari_medurwkv.inference.client import EngineClient
from napari_medurwkv.inference.engine_protocol import EngineError
from napari_medurwkv.inference.engine_sources import describe_levels
from napari_medurwkv.inference.further import Further
from napari_medurwkv.io import image_from_array, lazy_image
from napari_medurwkv.io.pyramid_mask import PyramidMask
from napari_medurwkv.models import create_model

FAKE = (sys.executable, str(Path(__file__).with_name("fake_engine.py")))


@pytest.fixture(scope="module")
def client():
    """One engine that stays warm, whose work is simple."""
    made = EngineClient(command=FAKE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def real():
    """The engine of the package, on one thread: tests run beside other programs."""
    made = EngineClient()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory):
    """A small network with random weights, made for slices."""
    config = {
        "embed_dim": 16,
        "depth": 4,
        "conv_inplane": 8,
        "bottleneck_dim": 16,
        "decoder_dims": [16, 16, 16],
        "final_dim": 8,
        "in_channels": 1,
        "num_classes": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_model("med_urwkv_nano", **config)
    card = ModelCard.model_validate(
        {
            "name": "tiny",
            "title": "Tiny",
            "version": "1",
            "description": "Nothing.",
            "limitations": "Everything.",
            "architecture": "med_urwkv_nano",
            "config": config,
            "dimensions": 2,
            "modality": ["test"],
            "channels": [{"name": "grey"}],
            "intensity": {"scale": "none"},
            "patch_size": [64, 64],
            "activation": "softmax",
            "classes": [
                {"value": 0, "name": "background", "color": "#000000"},
                {"value": 1, "name": "thing", "color": "#ff0000"},
            ],
            "output_values": [0, 1],
            "training_data": [],
            "metrics": [],
            "authors": ["Nobody"],
            "licence": "BSD-3-Clause",
            "date": datetime.date(2026, 1, 1),
        }
    )
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    return save_checkpoint(path, network, card)


@pytest.fixture
def image():
    values = np.random.default_rng(1).normal(size=(20, 6, 5)).astype(np.float32)
    return image_from_array(values, spacing=(3, 1, 1))


def labels_for(image):
    return np.zeros(image.geometry.display_shape, np.uint8)


def start_run(client, image, model, out, **options):
    """Run in a thread; give it and the list that its outcome goes to."""
    outcome = []

    def work():
        try:
            outcome.append(client.segment(image, model, out=out, **options))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, outcome


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def lives(pid):
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except FileNotFoundError:
        return False


def child_folder(client):
    return client._host.folder


def test_labels_progress_and_record_come_back(client, image):
    out, seen = labels_for(image), []
    result = client.segment(
        image, "fine", out=out, device="gpu", on_progress=seen.append
    )
    assert np.array_equal(out, image.array > 0)
    assert result.labels is out
    assert result.geometry is image.geometry
    assert result.complete
    assert result.fraction == 1
    assert [c.name for c in result.classes] == ["background", "bright"]
    assert result.record.device_path == ("gpu",)
    assert [(p.done, p.total, p.seconds) for p in seen[:2]] == [
        (1, 20, 0.5),
        (2, 20, 0.5),
    ]


def test_a_part_of_the_image_can_be_asked_for(client, image):
    out = labels_for(image)
    region = (slice(3, 5), *(slice(None),) * (out.ndim - 1))
    client.segment(image, "fine", out=out, region=region)
    expected = np.zeros_like(out)
    expected[3:5] = image.array[3:5] > 0
    assert expected.any()
    assert np.array_equal(out, expected)


def test_a_region_is_in_out_when_it_is_told_and_only_then(client, image):
    out, told = labels_for(image), []

    def on_region(region):
        told.append(region[0].start)
        assert np.array_equal(out[region], image.array[region] > 0)
        assert not out[region[0].stop :].any()

    client.segment(image, "fine", out=out, on_region=on_region)
    assert told == list(range(20))


def test_an_edit_of_a_finished_region_is_not_undone(client, image):
    out = labels_for(image)

    def on_region(region):
        out[region] = 9

    client.segment(image, "fine", out=out, on_region=on_region)
    assert (out == 9).all()


def test_a_lazy_image_is_read_in_slabs_along_its_chunks(client, image):
    asked = []

    def block(values, block_info):
        asked.append(block_info[0]["array-location"][0])
        return values

    lazy = dask.array.from_array(image.array, chunks=(7, 6, 5)).map_blocks(
        block, dtype=np.float32, meta=np.zeros((0, 0, 0), np.float32)
    )
    out = labels_for(image)
    client.segment(replace(image, array=lazy), "fine", out=out)
    assert np.array_equal(out, image.array > 0)
    assert sorted(asked) == [(0, 7), (7, 14), (14, 20)]


@pytest.mark.parametrize("dtype", [">i2", "u1", "f8"])
def test_every_type_of_numbers_crosses(client, image, dtype):
    values = (image.array * 10).clip(0, None).astype(dtype)
    out = labels_for(image)
    client.segment(replace(image, array=values), "fine", out=out)
    assert np.array_equal(out, values > 0)


def test_what_is_no_number_is_refused(client, image):
    values = image.array.astype(complex)
    with pytest.raises(ImageError, match="complex"):
        client.segment(
            type(image)(values, image.geometry, False, "x"),
            "fine",
            out=labels_for(image),
        )


def test_labels_of_another_shape_are_refused(client, image):
    with pytest.raises(GeometryError, match="shape"):
        client.segment(image, "fine", out=np.zeros((2, 2), np.uint8))


def test_errors_cross_with_class_and_sentence(client, image):
    with pytest.raises(ImageError, match=r"^The image is empty\.$"):
        client.segment(image, "refuses", out=labels_for(image))


def test_an_unforeseen_error_brings_its_traceback(client, image):
    with pytest.raises(EngineError, match="ZeroDivisionError: seventeen") as caught:
        client.segment(image, "surprise", out=labels_for(image))
    assert "\n" not in str(caught.value)
    assert "in misbehave" in caught.value.details
    assert client.segment(image, "fine", out=labels_for(image)).complete


def test_too_little_memory_is_said(client, image):
    with pytest.raises(EngineError, match="not enough memory"):
        client.segment(image, "hungry", out=labels_for(image))


def test_stray_prints_do_no_harm(client, image):
    out = labels_for(image)
    assert client.segment(image, "chatty", out=out).complete
    assert np.array_equal(out, image.array > 0)


def test_cancelled_at_half_the_part_stays(client, image):
    out, enough = labels_for(image), threading.Event()
    thread, outcome = start_run(
        client,
        image,
        "slow",
        out,
        on_progress=lambda p: p.done >= 10 and enough.set(),
    )
    assert enough.wait(10)
    began = time.monotonic()
    client.cancel()
    thread.join()
    assert time.monotonic() - began < 1
    (result,) = outcome
    assert not result.complete
    assert not result.record.complete
    done = round(result.fraction * 20)
    assert 10 <= done <= 12
    assert np.array_equal(out[:done], image.array[:done] > 0)
    assert not out[done:].any()


def test_cancelled_without_keeping_raises(client, image):
    thread, outcome = start_run(client, image, "slow", labels_for(image))
    time.sleep(0.3)
    client.cancel(keep_partial=False)
    thread.join()
    assert isinstance(outcome[0], CancelledError)


def test_cancelling_nothing_does_nothing(client, image):
    client.cancel()
    assert client.segment(image, "fine", out=labels_for(image)).complete


def test_a_second_run_is_refused(client, image):
    thread, outcome = start_run(client, image, "slow", labels_for(image))
    time.sleep(0.2)
    for second in (
        lambda: client.segment(image, "fine", out=labels_for(image)),
        client.device_report,
    ):
        with pytest.raises(EngineError, match="busy"):
            second()
    client.cancel()
    thread.join()
    assert not outcome[0].complete


def test_a_child_that_does_not_answer_is_killed(image, tiny_checkpoint, tmp_path):
    stubborn = shutil.copy(tiny_checkpoint, tmp_path / "stubborn.safetensors")
    out, enough = labels_for(image), threading.Event()
    with closing(EngineClient(command=FAKE, grace=0.3)) as client:
        thread, outcome = start_run(
            client, image, stubborn, out, on_region=lambda r: enough.set()
        )
        assert enough.wait(10)
        began = time.monotonic()
        client.cancel()
        thread.join()
        assert time.monotonic() - began < 1.5
        (result,) = outcome
        assert not result.complete
        done = round(result.fraction * 20)
        assert 0 < done < 20
        assert np.array_equal(out[:done], image.array[:done] > 0)
        assert result.record.model.name == "tiny"
        assert not result.record.complete
        assert client.segment(image, "fine", out=labels_for(image)).complete


@pytest.mark.parametrize(
    ("death", "sentence"), [("memory", "memory ran out"), ("crash", "SIGSEGV")]
)
def test_a_child_that_dies_leaves_its_part_and_a_sentence(
    client, image, death, sentence
):
    out = labels_for(image)
    with pytest.raises(EngineError, match=sentence) as caught:
        client.segment(image, death, out=out)
    assert "50%" in str(caught.value)
    assert np.array_equal(out[:10], image.array[:10] > 0)
    assert not out[10:].any()
    if death == "crash":
        assert "Segmentation fault" in caught.value.details
    assert client.segment(image, "fine", out=labels_for(image)).complete


def test_an_error_of_a_callback_stops_the_run(client, image):
    def fail(progress):
        raise KeyError(progress.done)

    with pytest.raises(KeyError):
        client.segment(image, "slow", out=labels_for(image), on_progress=fail)
    began = time.monotonic()
    assert client.segment(image, "fine", out=labels_for(image)).complete
    assert time.monotonic() - began < 1


def test_nothing_stays_in_the_folder_after_a_run(client, image):
    client.segment(image, "fine", out=labels_for(image))
    assert not list(child_folder(client).iterdir())


def test_device_report(client):
    report = client.device_report("cpu")
    assert report.requested == "cpu"
    assert report.description == "a processor"
    assert report.kernels == "portable"


def test_no_room_for_the_image_is_said_and_nothing_stays(client, image):
    client.start()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match="no room"):
            client.segment(image, "fine", out=labels_for(image))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(child_folder(client).iterdir())


def test_cancelled_before_the_engine_is_ready(image, tiny_checkpoint, monkeypatch):
    monkeypatch.setenv("FAKE_ENGINE_START", "20")
    with closing(EngineClient(command=FAKE)) as client:
        thread, outcome = start_run(client, image, tiny_checkpoint, labels_for(image))
        time.sleep(0.3)
        began, pid = time.monotonic(), client._host.child.pid
        client.cancel()
        thread.join()
        assert time.monotonic() - began < 1
        assert isinstance(outcome[0], CancelledError)
        assert client._host.child.pid == pid  # it goes on loading


def test_an_engine_that_cannot_start_says_why(image, monkeypatch):
    monkeypatch.setenv("FAKE_ENGINE_BROKEN", "1")
    with (
        closing(EngineClient(command=FAKE)) as client,
        pytest.raises(EngineError, match=r"nothing_of_this_name.*medurwkv doctor"),
    ):
        client.device_report()


def test_a_command_that_does_not_exist_says_so():
    with (
        closing(EngineClient(command=("no such program",))) as client,
        pytest.raises(EngineError, match="could not be started"),
    ):
        client.start()


def test_close_ends_the_child_and_the_run(image):
    client = EngineClient(command=FAKE)
    thread, outcome = start_run(client, image, "slow", labels_for(image))
    wait_for(lambda: client._run is not None and client._run.done)
    folder, pid = child_folder(client), client._host.child.pid
    client.close()
    thread.join()
    assert isinstance(outcome[0], CancelledError)
    assert not folder.exists()
    assert not lives(pid)
    client.cancel()
    client.close()
    with pytest.raises(EngineError, match="closed"):
        client.segment(image, "fine", out=labels_for(image))


PARENT = """
import os, sys, time
from napari_medurwkv.inference import probabilities, segment, serve
from napari_medurwkv.inference.client import EngineClient
client = EngineClient(command=sys.argv[2:])
client.device_report()
print(client._host.child.pid, client._host.folder, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["killed", "orderly"])
def test_the_end_of_the_parent_ends_the_child(end):
    done = subprocess.run(
        [sys.executable, "-c", PARENT, end, *FAKE], capture_output=True, text=True
    )
    pid, folder = done.stdout.split()
    wait_for(lambda: not lives(int(pid)))
    wait_for(lambda: not Path(folder).exists())
    assert not done.stderr


def test_the_client_loads_neither_torch_nor_qt():
    code = (
        "import sys, napari_medurwkv.inference.client;"
        "sys.exit(' '.join({'torch', 'qtpy', 'napari'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.stderr


def test_the_model_of_the_last_run_is_kept_until_its_file_changes(tiny_checkpoint):
    loaded = []
    shelf = serve._Shelf(lambda path: loaded.append(path) or len(loaded))
    assert [shelf.take(tiny_checkpoint) for _ in range(2)] == [1, 1]
    os.utime(tiny_checkpoint, (1, 1))
    assert shelf.take(tiny_checkpoint) == 2


def test_the_real_engine_does_what_segment_does(real, tiny_checkpoint):
    values = np.random.default_rng(3).normal(size=(4, 70, 60)).astype(np.float32)
    image = image_from_array(values, spacing=(3, 1, 1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = segment(image, tiny_checkpoint, device="cpu")
    torch.set_num_threads(threads)
    out = labels_for(image)
    result = real.segment(image, tiny_checkpoint, out=out, device="cpu")
    assert np.array_equal(out, expected.labels)
    assert out.any()
    assert not out.all()
    assert result.classes == expected.classes
    assert result.record.model == expected.record.model
    assert result.record.input == expected.record.input
    assert result.record.parameters == expected.record.parameters


def test_the_real_engine_stops_at_half(real, tiny_checkpoint):
    values = np.random.default_rng(2).normal(size=(40, 64, 64)).astype(np.float32)
    image = image_from_array(values)
    out, half = labels_for(image), threading.Event()
    thread, outcome = start_run(
        real,
        image,
        tiny_checkpoint,
        out,
        device="cpu",
        on_progress=lambda p: p.done >= 10 and half.set(),
    )
    assert half.wait(60)
    began = time.monotonic()
    real.cancel()
    thread.join()
    assert time.monotonic() - began < 2
    assert not outcome[0].complete
    assert out[:10].any()
    assert not out[30:].any()


def test_the_real_engine_names_its_device(real):
    report = real.device_report()
    assert report.device == "cpu" or report.device.startswith(("cuda", "mps"))
    assert report.torch == torch.__version__
    with pytest.raises(DeviceError, match="no device"):
        real.device_report("abacus")


def test_errors_of_the_real_engine_cross(real, image, tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("not a checkpoint, but long enough to be one")
    with pytest.raises(CheckpointError, match="text"):
        real.segment(image, text, out=labels_for(image))


def test_a_forecast_needs_no_image(client, image):
    found = client.foresee(image.geometry, np.float32, "fine", device="cpu")
    assert (found.windows, found.seconds, found.problem) == (600, 2.0, "")
    large = client.foresee(image.geometry, np.uint8, "large", rgb=True)
    assert (large.windows, large.problem) == (1800, "It cannot fit.")
    with pytest.raises(ImageError):
        client.foresee(image.geometry, np.uint8, "refuses")


def test_a_run_does_not_wait_for_a_forecast(client, image):
    told = []

    def ask():
        try:
            client.foresee(image.geometry, np.float32, "slow")
        except CancelledError as error:
            told.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    result = client.segment(image, "fine", out=labels_for(image))
    thread.join(10)
    assert result.complete
    assert told


def test_the_real_engine_foresees(real, tiny_checkpoint):
    image = image_from_array(np.zeros((300, 200), np.uint8))
    found = real.foresee(image.geometry, np.uint8, tiny_checkpoint, device="cpu")
    assert found.windows == 9 * 6
    assert 0 < found.seconds < 60
    assert not found.problem
    part = (slice(0, 10), slice(0, 10))
    fewer = real.foresee(image.geometry, np.uint8, tiny_checkpoint, region=part)
    assert fewer.windows == 1


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(probabilities, "cache_folder", lambda: folder)
    return folder


def test_probabilities_and_uncertainty_come_with_the_result(client, image, cache):
    result = client.segment(
        image,
        "fine",
        out=labels_for(image),
        further=Further(tta=True, keep_probabilities=True, uncertainty=True),
    )
    kept = result.probabilities
    np.testing.assert_array_equal(kept.array[1], result.labels * 255)
    assert (result.uncertainty.entropy == 4).all()
    assert result.uncertainty.disagreement.shape == image.array.shape
    path = kept.path
    assert path.parent == cache
    assert path.name.startswith(f"{os.getpid()}-")
    del result, kept
    assert not path.exists()


def test_what_was_not_asked_for_does_not_come(client, image, cache):
    result = client.segment(image, "fine", out=labels_for(image))
    assert result.probabilities is None
    assert result.uncertainty is None
    assert not cache.exists()


@pytest.mark.parametrize("model", ["crash", "refuses"])
def test_a_failed_run_leaves_no_probabilities(model, image, cache):
    with closing(EngineClient(command=FAKE)) as own:
        with pytest.raises((EngineError, ImageError)):
            own.segment(
                image,
                model,
                out=labels_for(image),
                further=Further(keep_probabilities=True),
            )
        assert list(cache.iterdir()) == []


def test_a_cancelled_run_has_no_probabilities(image, cache):
    with closing(EngineClient(command=FAKE)) as own:
        result = own.segment(
            image,
            "slow",
            out=labels_for(image),
            further=Further(keep_probabilities=True, uncertainty=True),
            on_progress=lambda progress: progress.done == 3 and own.cancel(),
        )
    assert not result.complete
    assert result.probabilities is None
    assert list(cache.iterdir()) == []


def test_the_real_engine_keeps_what_segment_keeps(real, tiny_checkpoint, image, cache):
    further = Further(tta=True, keep_probabilities=True, uncertainty=True)
    result = real.segment(
        image, tiny_checkpoint, out=labels_for(image), device="cpu", further=further
    )
    here = segment(
        image,
        tiny_checkpoint,
        device="cpu",
        tta=True,
        keep_probabilities=True,
        uncertainty=True,
    )
    assert result.record.parameters["tta"]
    assert result.record.run_id == result.probabilities.rule.run_id
    steps = result.probabilities.array.astype(int) - here.probabilities.array
    assert abs(steps).max() <= 1
    for name in ("entropy", "disagreement"):
        mine = getattr(here.uncertainty, name).astype(int)
        assert abs(mine - getattr(result.uncertainty, name)).max() <= 1
    assert result.record.uncertainty.slices


def lazy(array, **options):
    return lazy_image(array, spacing=(1.0,) * array.ndim, **options)


def test_parts_are_asked_for_as_windows_need_them(real, tiny_checkpoint):
    """A zarr array is opened by the engine, a dask array is read for it."""
    values = np.random.default_rng(3).integers(0, 255, (150, 90), np.uint8)
    whole = image_from_array(values, spacing=(1.0, 1.0))
    expected = labels_for(whole)
    real.segment(whole, tiny_checkpoint, out=expected, device="cpu")
    assert expected.any()
    pieces = dask.array.from_array(values, chunks=(40, 90))
    picture = lazy(pieces)
    out = labels_for(picture)
    result = real.segment(picture, tiny_checkpoint, out=out, device="cpu")
    assert result.complete
    np.testing.assert_array_equal(out, expected)
    assert (
        result.record.input.sha256
        == segment(picture, tiny_checkpoint, device="cpu").record.input.sha256
    )


def test_a_zarr_array_is_opened_by_the_engine(real, tiny_checkpoint, tmp_path):
    values = np.random.default_rng(3).integers(0, 255, (150, 90), np.uint8)
    group = zarr.open_group(tmp_path / "image.zarr", mode="w")
    stored = group.create_array("0", shape=values.shape, dtype="u1", chunks=(64, 64))
    stored[:] = values
    picture = lazy(stored)
    (described,) = describe_levels(picture.array)
    assert described == {"zarr": str(tmp_path / "image.zarr"), "path": "0"}
    out = labels_for(picture)
    assert real.segment(picture, tiny_checkpoint, out=out, device="cpu").complete
    expected = segment(image_from_array(values), tiny_checkpoint, device="cpu").labels
    np.testing.assert_array_equal(out, expected)


def test_a_part_that_cannot_be_read_ends_the_run_with_a_sentence(client):
    def fail(block):
        raise OSError("the share is gone")

    array = dask.array.zeros((20, 6, 5), chunks=(5, 6, 5), dtype=np.float32)
    broken = array.map_blocks(fail, dtype=np.float32, meta=np.zeros((0, 0, 0)))
    picture = lazy(broken)
    with pytest.raises(ImageError, match="cannot be read: the share is gone"):
        client.segment(picture, "fine", out=labels_for(picture))
    good = lazy(array + 1)
    out = labels_for(good)
    assert client.segment(good, "fine", out=out).complete
    assert out.all()


def test_a_run_is_cancelled_while_a_part_is_made(client):
    def slowly(block):
        if block.size:
            time.sleep(0.3)
        return block

    array = dask.array.ones((20, 6, 5), chunks=(1, 6, 5), dtype=np.float32)
    meta = np.zeros((0, 0, 0), np.float32)
    picture = lazy(array.map_blocks(slowly, dtype=np.float32, meta=meta))
    out = labels_for(picture)
    thread, outcome = start_run(client, picture, "fine", out)
    wait_for(lambda: out.any())
    client.cancel()
    thread.join(5)
    (result,) = outcome
    assert not result.complete
    assert 0 < result.fraction < 1
    assert not list(Path(client._host.folder).glob("*.npy"))


def test_a_mask_on_the_disk_is_filled_by_the_engine(real, tiny_checkpoint, tmp_path):
    values = np.random.default_rng(3).integers(0, 255, (150, 90), np.uint8)
    whole = image_from_array(values, spacing=(1.0, 1.0))
    expected = labels_for(whole)
    real.segment(whole, tiny_checkpoint, out=expected, device="cpu")
    mask = PyramidMask.create(tmp_path / "mask", values.shape, np.uint8)
    regions = []
    result = real.segment(
        lazy(dask.array.from_array(values, chunks=64)),
        tiny_checkpoint,
        out=mask,
        device="cpu",
        on_region=regions.append,
    )
    assert result.complete
    assert result.labels is mask
    assert expected.any()
    np.testing.assert_array_equal(mask[:], expected)
    assert regions


def test_features_cross_the_border(client):
    picture = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    found = client.features(picture, "fine", spacing=(2.0, 1.0), device="cpu")
    assert found.maps.shape == (2, 20, 30) and found.values == (0, 1)
    np.testing.assert_allclose(found.maps[1], 2 * picture, atol=2e-3)
    colours = np.zeros((20, 30, 3), np.uint8)
    assert client.features(colours, "fine", rgb=True).odds.shape == (2, 20, 30)
    with pytest.raises(ImageError):
        client.features(picture, "refuses")
    left = [path.name for path in client._host.folder.iterdir()]
    assert not [name for name in left if name.endswith(".npy")]


def test_the_real_engine_gives_features(real, tiny_checkpoint):
    picture = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    found = real.features(picture, tiny_checkpoint, device="cpu")
    assert found.maps.shape[1:] == (40, 50)
    assert found.odds.shape == (len(found.values), 40, 50)
