"""Recordings are found again for the same network in the same place, and only then."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from napari_medurwkv.inference.replay import Recordings, Replay
from napari_medurwkv.inference.streams import Streams

NEEDS_CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no CUDA device"
)


@pytest.fixture
def network():
    return nn.Linear(3, 2)


def test_a_recording_is_found_for_what_was_recorded(network):
    recordings, batch, replay = Recordings(), torch.zeros(4, 3), object()
    recordings.keep(network, batch, "half", replay)
    assert recordings.find(network, torch.ones(4, 3), "half") is replay
    assert recordings.find(network, batch[:2], "half") is None
    assert recordings.find(network, batch, "full") is None
    assert recordings.find(nn.Linear(3, 2), batch, "half") is None


def test_numbers_that_moved_are_recorded_anew(network):
    recordings, batch = Recordings(), torch.zeros(4, 3)
    recordings.keep(network, batch, "half", object())
    with torch.no_grad():
        network.bias.mul_(2)  # in place: the recording reads them there
    assert recordings.find(network, batch, "half") is not None
    network.bias = nn.Parameter(network.bias.detach().clone())
    assert recordings.find(network, batch, "half") is None


def test_recordings_go_when_told_and_with_their_network(network):
    recordings, batch = Recordings(), torch.zeros(4, 3)
    recordings.keep(network, batch, "half", object())
    recordings.forget(network)
    assert recordings.find(network, batch, "half") is None

    other = nn.Linear(3, 2)
    recordings.keep(other, batch, "half", object())
    del other
    gc.collect()
    assert not recordings._kept


def test_without_a_gpu_there_are_no_streams():
    streams, rows = Streams("cpu"), torch.ones(2)
    assert streams.bring(rows, "cpu") is rows
    with streams.beside(rows):
        rows += 1
    streams.join()
    assert rows.tolist() == [2, 2]


@pytest.mark.gpu
@NEEDS_CUDA
def test_two_results_of_a_recording_live_at_a_time():
    batch = torch.zeros(2, 3, device="cuda")
    replay = Replay(lambda x: (x * 2).bfloat16(), batch)
    results = [replay(list(torch.full((2, 3), float(i)))) for i in range(3)]
    assert results[1].eq(2).all()
    assert results[2].eq(4).all()
    assert results[2].dtype == torch.float32
    assert results[0].data_ptr() == results[2].data_ptr()


@pytest.mark.gpu
@NEEDS_CUDA
def test_runs_with_a_recording_give_what_launched_ones_give(
    volume_card, model, networks, image, rng, monkeypatch
):
    import numpy as np

    from napari_medurwkv.inference import predictor, segment

    array = rng.random((24, 60, 70)).astype(np.float32)
    fake = model(networks["convolution"](3, 2), volume_card())
    picture = image(array, (1.5, 0.8, 0.8))
    monkeypatch.setattr(predictor, "MANY_BATCHES", 10**9)
    launched = segment(picture, fake, device="cuda").labels
    monkeypatch.setattr(predictor, "MANY_BATCHES", 1)
    for _ in range(2):
        result = segment(picture, fake, device="cuda")
        assert len(result.record.device_path) == 1
        assert np.array_equal(result.labels, launched)
    # Moved there and back, the numbers may lie elsewhere.
    fake.network.to("cpu")
    assert np.array_equal(segment(picture, fake, device="cuda").labels, launched)
