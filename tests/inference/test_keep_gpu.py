"""Probabilities, uncertainty and views on a GPU: what the CPU gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.inference import probabilities as module
from napari_medurwkv.inference import segment
from napari_medurwkv.inference.redecide import Settings, redecide

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)


@pytest.mark.parametrize("views", [("axial",), ("axial", "coronal", "sagittal")])
def test_a_gpu_keeps_what_the_cpu_keeps(
    views, volume_card, model, networks, image, rng
):
    picture = image(rng.random((40, 70, 60)).astype(np.float32), (2, 1, 1))
    results = [
        segment(
            picture,
            model(networks["convolution"](3, 3), volume_card(output_values=(0, 1, 2))),
            device=device,
            views=views,
            tta=True,
            keep_probabilities=True,
            uncertainty=True,
        )
        for device in ("cpu", "cuda")
    ]
    here, there = (r.probabilities.array.astype(int) for r in results)
    # bfloat16 has three digits.
    assert abs(here - there).max() <= 4
    for name in ("entropy", "disagreement"):
        here, there = (getattr(r.uncertainty, name).astype(int) for r in results)
        assert abs(here - there).max() <= 5
    again = np.zeros(results[1].labels.shape, np.uint8)
    redecide(results[1].probabilities, Settings(), again)
    np.testing.assert_array_equal(again, results[1].labels)


def test_undefined_numbers_in_any_view_are_refused(volume_card, model, image):
    class Broken(torch.nn.Module):
        def forward(self, x):
            return torch.full_like(x[:, :1], float("nan")).expand(-1, 2, -1, -1)

    with pytest.raises(MedurwkvError, match="undefined"):
        segment(
            image(np.zeros((20, 40, 40), np.float32)),
            model(Broken(), volume_card()),
            device="cuda",
            views=("axial", "coronal"),
        )
