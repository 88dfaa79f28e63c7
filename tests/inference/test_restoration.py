"""Restoring: windows, intensities there and back, every slice, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_medurwkv.errors import CancelledError, CheckpointError, MedurwkvError
from napari_medurwkv.inference import restore, segment


class Same(nn.Module):
    """Gives back what it gets, and remembers what it was given."""

    def __init__(self, add: float = 0.0) -> None:
        super().__init__()
        self.add = add
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        return x + self.add


class Blur(nn.Module):
    """The mean of three by three pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


RESTORES = {
    "task": "restoration",
    "activation": "none",
    "classes": (),
    "output_values": (),
    "patch_size": (32, 32),
}


@pytest.fixture
def restorer(card, model):
    def make(network: nn.Module, **changes):
        return model(network, card(**(RESTORES | changes)))

    return make


@pytest.mark.parametrize("shape", [(40, 70), (20, 9), (3, 40, 33)])
def test_values_come_back_in_their_units(shape, restorer, image, rng):
    array = rng.normal(-300, 900, shape).astype(np.float32)
    scale = {"scale": "window", "low": -1024, "high": 3072, "mean": 0.1, "std": 2}
    network = Same()
    result = restore(
        image(array), restorer(network, intensity=scale | {"clip": False}), device="cpu"
    )
    assert result.array.dtype == np.float32 and result.array.shape == shape
    np.testing.assert_allclose(result.array, array, atol=0.01)
    seen = torch.cat([x.flatten() for x in network.seen])
    assert -2 < float(seen.min()) < float(seen.max()) < 2
    assert result.geometry.display_shape == shape


def test_every_slice_is_restored_by_itself(restorer, image, rng):
    array = rng.random((4, 50, 41)).astype(np.float32)
    unit = {"scale": "none"}
    result = restore(image(array), restorer(Blur(), intensity=unit), device="cpu")
    padded = np.pad(array, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    views = [padded[:, y : y + 50, x : x + 41] for y in range(3) for x in range(3)]
    expected = np.nanmean(views, 0)
    inside = (slice(None), slice(1, -1), slice(1, -1))
    # Windows are blended: their own borders are known a little worse.
    assert np.abs(result.array - expected)[inside].mean() < 0.02
    assert np.median(np.abs(result.array - expected)) < 1e-3
    one = restore(image(array[2]), restorer(Blur(), intensity=unit), device="cpu")
    np.testing.assert_allclose(one.array, result.array[2], atol=1e-6)


def test_progress_and_cancel(restorer, image, rng):
    array = rng.random((3, 40, 40)).astype(np.float32)
    seen = []
    restore(image(array), restorer(Same()), device="cpu", progress=seen.append)
    assert [p.done for p in seen] == list(range(1, seen[-1].total + 1))
    count = []
    with pytest.raises(CancelledError):
        restore(
            image(array),
            restorer(Same()),
            device="cpu",
            progress=count.append,
            cancel=lambda: len(count) >= 2,
        )
    assert len(count) == 2


def test_refusals(restorer, card, model, networks, image, rng):
    array = rng.random((20, 20)).astype(np.float32)
    with pytest.raises(CheckpointError, match="use 'segment'"):
        restore(image(array), model(networks["threshold"](), card()))
    with pytest.raises(CheckpointError, match="restores images and segments nothing"):
        segment(image(array), restorer(Same()))
    with pytest.raises(MedurwkvError, match="not finite"):
        restore(image(array), restorer(Same(float("nan"))), device="cpu")
