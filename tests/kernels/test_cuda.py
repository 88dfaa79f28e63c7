"""Bi-WKV on a GPU against its definition."""

from __future__ import annotations

import pytest
import torch
from napari_medurwkv.kernels import _cuda, bi_wkv_reference
from napari_medurwkv.kernels._cuda_plan import plan_backward, plan_forward
from napari_medurwkv.kernels._reference import bi_wkv_dense

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
]


@pytest.mark.parametrize("tokens", [1, 2, 49, 196, 1024, 4096, 16384, 65536, 1000003])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("clusters", [False, True])
@pytest.mark.parametrize("plan", [plan_forward, plan_backward])
def test_plans_cover_every_token(tokens, half, clusters, plan):
    cut = plan(1, tokens, 192, half, half, clusters)
    part = cut.cluster * (cut.threads // cut.lanes) * cut.run
    assert (cut.splits - 1) * part < tokens <= cut.splits * part
    assert cut.threads <= cut.most <= 1024
    assert cut.threads % 32 == 0
    assert clusters or cut.cluster == 1


def test_availability_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _cuda.availability.cache_clear()
    usable, reason = _cuda.availability(torch.device("cuda", 0))
    assert not usable
    assert "no NVIDIA GPU" in reason
    _cuda.availability.cache_clear()


class TestOnGpu:
    pytestmark = gpu

    @pytest.mark.parametrize("shape", [(1, 1, 1), (2, 49, 33), (3, 1000, 34)])
    @pytest.mark.parametrize("decay", [(-5.0, 3.0), (-20.0, 50.0), (-300.0, 300.0)])
    @pytest.mark.parametrize("spread", [1.0, 30.0])
    def test_forward(self, make_inputs, shape, decay, spread):
        x = make_inputs(shape, decay, spread)
        y = _cuda.forward(*(t.cuda() for t in x.arguments)).cpu()
        bar = 2e-6 if spread == 1 and decay[1] <= 50 else 2e-5
        assert (y - bi_wkv_reference(*x.arguments)).abs().max() <= bar

    @pytest.mark.parametrize("shape", [(1, 1, 8), (2, 49, 33), (1, 700, 34)])
    @pytest.mark.parametrize("decay", [(-5.0, 3.0), (-20.0, 50.0), (-300.0, 300.0)])
    def test_backward(self, make_inputs, shape, decay):
        x = make_inputs(shape, decay)
        leaves = [t.double().requires_grad_() for t in x.arguments]
        dense = bi_wkv_dense(*leaves)
        expected = torch.autograd.grad(dense, leaves, x.grad.double())
        given = [t.cuda() for t in (x.grad, *x.arguments, dense.detach().float())]
        for got, want in zip(_cuda.backward(*given), expected, strict=True):
            assert (got.cpu() - want).abs().max() <= 1e-4 * want.abs().max()
