"""The ring of planes gives what full accumulators give, on every path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.inference import ring as ring_module
from napari_medurwkv.inference.ring import Ring
from napari_medurwkv.inference.windows import window_grid

PICTURES = [(100, 77), (16, 12), (3, 90), (90, 3), (17, 13)]
VOLUMES = [(40, 30, 25), (16, 12, 10), (5, 30, 9), (33, 4, 25)]


@pytest.fixture(params=["compiled", "torch"])
def path(request, monkeypatch):
    """Both ways to compute, on the CPU."""
    if request.param == "torch":
        monkeypatch.setattr(ring_module, "window_kernels", lambda: None)
    else:
        assert ring_module.window_kernels() is not None
    return request.param


def _gaussian(patch):
    place = np.arange(patch) - (patch - 1) / 2
    return np.exp(-0.5 * (place / (patch / 8)) ** 2)


def _make(shape, overlap, rng, outputs=3):
    patch = (16, 12, 10)[: len(shape)]
    grid = window_grid(shape, patch, overlap)
    windows = {
        place: rng.standard_normal((outputs, *patch)).astype(np.float32)
        for place in grid.places()
    }
    return grid, windows


def _reference(grid, windows, outputs=3):
    """Weighted averages in full arrays of double precision."""
    total, norm = np.zeros((outputs, *grid.shape)), np.zeros(grid.shape)
    weight = np.ones(())
    for patch in grid.patch:
        weight = np.multiply.outer(weight, _gaussian(patch))
    for place, window in windows.items():
        outer, inner = [], []
        for axis, number in zip(grid.axes, place, strict=True):
            (first, end), start = axis.covered(number), axis.starts[number]
            outer.append(slice(first, end))
            inner.append(slice(first - start, end - start))
        total[:, *outer] += window[:, *inner].astype(float) * weight[*inner]
        norm[*outer] += weight[*inner]
    return total / norm


def _run(ring, windows, finish):
    parts, done = [], 0
    for place, window in windows.items():
        ready = ring.add(place, torch.from_numpy(window))
        if ready is not None:
            assert ready[0] == done
            done = ready[1]
            parts.append(finish(*ready))
    return parts, done


@pytest.mark.parametrize("overlap", [0, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("shape", PICTURES + VOLUMES)
def test_equals_full_accumulation(path, shape, overlap, rng):
    grid, windows = _make(shape, overlap, rng)
    expected = _reference(grid, windows)
    ring = Ring(grid, 3)
    for _ in range(2):  # the second image finds the ring empty
        parts, done = _run(ring, windows, ring.take)
        assert done == shape[0]
        result = torch.cat(parts, dim=1).numpy()
        np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(100, 77), (40, 30, 25)])
def test_labels_are_those_of_the_largest_average(path, shape, dtype, rng):
    grid, windows = _make(shape, 0.5, rng, outputs=5)
    values = np.array([0, 3, 7, 200, 9], dtype)
    expected = values[_reference(grid, windows, 5).argmax(0)]
    ring = Ring(grid, 5)
    for _ in range(2):
        parts, done = _run(ring, windows, lambda a, b: ring.labels(a, b, values))
        assert done == shape[0]
        labels = np.concatenate(parts)
        assert labels.dtype == dtype
        # Random numbers come closer than rounding about never.
        np.testing.assert_array_equal(labels, expected)


def test_the_first_of_equal_outputs_wins(path):
    grid = window_grid((16, 12), (16, 12), 0.5)
    ring = Ring(grid, 3)
    ready = ring.add((0, 0), torch.zeros(3, 16, 12))
    assert (ring.labels(*ready, np.array([4, 5, 6], np.uint8)) == 4).all()


@pytest.mark.parametrize("order", ["rows last", "channels last"])
def test_any_memory_layout_of_the_logits_will_do(path, order, rng):
    grid, windows = _make((100, 77), 0.5, rng)
    steps = (0, 2, 1) if order == "rows last" else (1, 2, 0)
    back = np.argsort(steps)
    ring, other = Ring(grid, 3), Ring(grid, 3)
    expected, _ = _run(ring, windows, ring.take)
    turned = {
        place: np.ascontiguousarray(window.transpose(steps)).transpose(back)
        for place, window in windows.items()
    }
    result, _ = _run(other, turned, other.take)
    assert all(torch.equal(a, b) for a, b in zip(expected, result, strict=True))


def test_keeps_no_more_planes_than_a_window_has():
    assert Ring(window_grid((1000, 50), (16, 12), 0.5), 3).shape == (16, 3, 1, 50)
    grid = window_grid((1000, 50, 40), (16, 12, 10), 0.5)
    assert Ring(grid, 3).shape == (16, 3, 50, 40)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("what", ["take", "labels"])
def test_numbers_that_are_not_finite_are_no_mask(path, bad, what):
    grid = window_grid((16, 12), (16, 12), 0.5)
    window = torch.zeros(2, 16, 12)
    window[1, 3, 3] = bad
    ring = Ring(grid, 2)
    ready = ring.add((0, 0), window)
    arguments = () if what == "take" else (np.array([0, 1], np.uint8),)
    with pytest.raises(MedurwkvError, match="infinite or undefined"):
        getattr(ring, what)(*ready, *arguments)


def test_sums_that_have_no_room_move_to_the_host(rng):
    class Full(Ring):
        def add(self, place, logits):
            if logits.device.type != "cpu":
                raise torch.OutOfMemoryError("x")
            return super().add(place, logits)

    class Device:
        """Answers like a tensor on a device that has no memory left."""

        def __init__(self, tensor):
            self._tensor, self.device = tensor, torch.device("cuda:0")

        def cpu(self):
            return self._tensor

    class Steps:
        def __init__(self):
            self.told = []

        def to_host(self, reason):
            self.told.append(reason)

    grid, windows = _make((100, 77), 0.5, rng)
    expected, _ = _run(plain := Ring(grid, 3), windows, plain.take)
    ring, predictor, parts = Full(grid, 3), Steps(), []
    for place, window in windows.items():
        logits = Device(torch.from_numpy(window))
        ready = ring_module.add_window(ring, predictor, place, logits)
        if ready is not None:
            parts.append(ring.take(*ready))
    assert all(torch.equal(a, b) for a, b in zip(expected, parts, strict=True))
    assert predictor.told[0] == "out of memory beside the network"
