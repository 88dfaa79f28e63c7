from __future__ import annotations

import math

import pytest
import torch
from napari_medurwkv.kernels import bi_wkv_reference
from napari_medurwkv.kernels._reference import bi_wkv_dense


def test_three_tokens_by_hand():
    w, u = 0.5, -0.25
    k, v = [0.1, -0.3, 0.7], [1.0, 2.0, -4.0]
    expected = []
    for t in range(3):
        weights = [
            math.exp(u + k[t] if i == t else k[i] - (abs(t - i) - 1) * w)
            for i in range(3)
        ]
        top = sum(a * b for a, b in zip(weights, v, strict=True))
        expected.append(top / sum(weights))
    y = bi_wkv_reference(
        torch.tensor([w]),
        torch.tensor([u]),
        torch.tensor(k).view(1, 3, 1),
        torch.tensor(v).view(1, 3, 1),
    )
    assert y.dtype == torch.float64
    assert y.flatten().tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("decay", [-200.0, -3.0, 0.0, 3.0, 200.0])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_equals_softmax_over_all_pairs(make_inputs, decay, spread):
    x = make_inputs((2, 37, 3), decay, spread).double()
    difference = bi_wkv_reference(*x.arguments) - bi_wkv_dense(*x.arguments)
    assert difference.abs().max() < 1e-12


def test_one_token_gives_its_value(make_inputs):
    x = make_inputs((2, 1, 3), 5.0, 30.0)
    assert torch.equal(bi_wkv_reference(*x.arguments), x.v.double())
