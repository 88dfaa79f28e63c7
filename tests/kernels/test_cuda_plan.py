"""How problems are cut for a GPU: tested without one."""

from __future__ import annotations

import pytest
import torch
from napari_medurwkv.kernels import _cuda
from napari_medurwkv.kernels._cuda_plan import Limits, plan_backward, plan_forward
from napari_medurwkv.kernels._cuda_shift import _divisor

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
    part = cut.cluster * (cut.threads // cut.lanes) * cut.run
    assert (cut.splits - 1) * part < tokens <= cut.splits * part
    assert cut.threads <= cut.most <= 1024
    assert cut.threads % 32 == 0
    assert cut.run % cut.piece == 0
    assert cut.run % 4 == 0
    assert cut.cluster <= limits.cluster
    backward = plan is plan_backward
    assert cut.shared(backward) <= limits.shared
    for element in (1, 2) if pairs else (0, 1, 2):
        assert cut.staged(element, backward) < cut.shared(backward)


def test_sums_and_tile_are_counted():
    # 48128 bytes of sums, as the compiler reports, beside a tile of 65536
    cut = plan_forward(1, 2048, 192, True, Limits(8, 227 << 10))
    assert (cut.lanes, cut.cluster, cut.most) == (32, 8, 256)
    assert 48128 <= cut.shared() - 65536 <= 60000


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
