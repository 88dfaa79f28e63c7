"""How problems are cut for a GPU: tested without one."""

from __future__ import annotations

import pytest
import torch
from napari_medurwkv.kernels import _cuda, _cuda_bi_wkv, _cuda_stream
from napari_medurwkv.kernels._cuda_plan import (
    Limits,
    plan_backward,
    plan_forward,
    plan_stream,
)
from napari_medurwkv.kernels._cuda_shift import _divisor
from napari_medurwkv.kernels._cuda_stream import StreamJob

DEVICES = {
    "Turing": Limits(1, 64 << 10),
    "Ampere": Limits(1, 99 << 10),
    "Hopper": Limits(16, 227 << 10),
    "Blackwell, GeForce": Limits(8, 99 << 10),
}


@pytest.mark.parametrize("tokens", [1, 2, 49, 196, 1024, 4096, 16384, 65536, 1000003])
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("plan", [plan_forward, plan_backward])
def test_plans_cover_every_token_and_fit(tokens, pairs, device, plan):
    limits = DEVICES[device]
    cut = plan(1, tokens, 192, pairs, limits)
    backward = plan is plan_backward
    part = cut.cluster * (cut.threads // cut.lanes) * cut.run
    assert (cut.splits - 1) * part < tokens <= cut.splits * part
    assert cut.threads <= cut.most <= 1024
    assert cut.threads % 32 == 0
    assert cut.run % cut.piece == 0
    assert cut.run % 4 == 0
    assert cut.cluster <= limits.cluster
    assert cut.shared(backward) <= limits.shared
    for element in (1, 2) if pairs else (0, 1, 2):
        assert cut.staged(element, backward) < cut.shared(backward)


def test_sums_and_tile_are_counted():
    # 40960 bytes of sums, as the compiler reports, beside a tile of 65536
    cut = plan_forward(1, 2048, 192, True, Limits(8, 227 << 10))
    assert (cut.lanes, cut.cluster, cut.most) == (32, 8, 256)
    assert 40960 <= cut.shared() - 65536 <= 60000


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("halves", [False, True])
def test_streams_cover_every_token(backward, halves):
    cut = plan_stream(backward, halves)
    tile = cut.rows * cut.run
    for tokens in (1, tile, tile + 1, 1000003):
        assert (cut.tiles(tokens) - 1) * tile < tokens <= cut.tiles(tokens) * tile
    assert cut.run % cut.piece == 0
    assert cut.threads % 32 == 0


@pytest.mark.parametrize("tokens", [300, 20000])
def test_long_sequences_are_streamed(monkeypatch, tokens):
    monkeypatch.setattr(_cuda_bi_wkv, "limits", lambda index: DEVICES["Hopper"])
    monkeypatch.setattr(_cuda_bi_wkv, "copies_ahead", lambda index: True)
    for module in (_cuda_bi_wkv, _cuda_stream):
        monkeypatch.setattr(module, "kernel", lambda *arguments: None)
    for segments, backward in ((0, False), (0, True), (16, False)):
        make = _cuda_bi_wkv._job.__wrapped__
        job = make(0, (1, tokens, 192), torch.float32, 0, segments, backward)
        streamed = tokens > 16384 and segments == 0
        assert isinstance(job, StreamJob) == streamed


def test_availability_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _cuda.availability.cache_clear()
    usable, reason = _cuda.availability(torch.device("cuda", 0))
    assert not usable
    assert "no NVIDIA GPU" in reason
    _cuda.availability.cache_clear()


def test_vectors_begin_where_everything_is_aligned():
    x = torch.empty(64, dtype=torch.float32)
    start = (-x.data_ptr() // 4) % 16
    assert _divisor([x[start:]], [48, 96, 144, 192]) == 16
    assert _divisor([x[start + 2 :]], [48, 96]) == 2
    assert _divisor([x[start:]], [7, 14]) == 1
    assert _divisor([x[start:]], [4, 8, 12]) == 4
