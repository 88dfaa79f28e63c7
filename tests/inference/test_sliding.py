"""Sliding windows over arrays: exact, out of core, mirrored, cancellable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_medurwkv.errors import CancelledError
from napari_medurwkv.inference.device import DeviceChoice
from napari_medurwkv.inference.predictor import Predictor
from napari_medurwkv.inference.sliding import sliding_averages, sliding_labels
from napari_medurwkv.inference.windows import window_grid

CPU = DeviceChoice("cpu", "CPU", "cpu")
CASES = {
    "picture": ((3, 90, 70), (32, 24)),
    "volume": ((1, 30, 28, 26), (16, 12, 10)),
    "smaller than a window": ((2, 9, 40), (16, 16)),
}


@pytest.fixture(params=list(CASES))
def case(request, rng):
    """Array, patch and a network whose windows differ at their borders."""
    shape, patch = CASES[request.param]
    kind = nn.Conv3d if len(patch) == 3 else nn.Conv2d
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = kind(shape[0], 4, 5, padding=2)
    return rng.standard_normal(shape).astype(np.float32), patch, network


def _reference(array, grid, network, flips=((),)):
    """Every window in double precision, in full arrays."""
    exact = network.double()
    total = np.zeros((4, *grid.shape))
    norm = np.zeros(grid.shape)
    padded = array
    for axis, windows in enumerate(grid.axes):
        source = windows.reflection()
        if source is not None:
            padded = np.take(padded, source, axis + 1)
    for place in grid.places():
        where, inner, outer, bell = [], [], [], np.ones(())
        for windows, number in zip(grid.axes, place, strict=True):
            start, patch = windows.starts[number], windows.patch
            first, end = windows.covered(number)
            where.append(slice(max(start, 0), max(start, 0) + patch))
            inner.append(slice(first - start, end - start))
            outer.append(slice(first, end))
            middle = np.arange(patch) - (patch - 1) / 2
            bell = np.multiply.outer(bell, np.exp(-0.5 * (middle / (patch / 8)) ** 2))
        window = torch.from_numpy(padded[:, *where].astype(float))
        with torch.inference_mode():
            logits = sum(exact(window.flip(f)[None])[0].flip(f) for f in flips)
        total[:, *outer] += (logits.numpy() / len(flips))[:, *inner] * bell[*inner]
        norm[*outer] += bell[*inner]
    network.float()
    return total / norm


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_logits_equal_a_reference_in_double_precision(case, batch):
    array, patch, network = case
    grid = window_grid(array.shape[1:], patch, 0.5)
    predictor = Predictor(network, CPU, 4)
    predictor.batch = batch
    parts = list(sliding_averages(array, grid, network, predictor, 4))
    assert [p[0] for p in parts] == [0, *(p[1] for p in parts[:-1])]
    assert parts[-1][1] == grid.shape[0]
    logits = torch.cat([p[2] for p in parts], dim=1).numpy()
    expected = _reference(array, grid, network)
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)

    values = np.array([0, 1, 2, 3], np.uint8)
    labels = sliding_labels(array, grid, network, predictor, values)
    best = np.sort(expected, axis=0)
    differ = labels != expected.argmax(0)
    assert (best[-1] - best[-2])[differ].max(initial=0) < 1e-5


def test_mirrored_windows_are_averaged(case):
    array, patch, network = case
    grid = window_grid(array.shape[1:], patch, 0.5)
    flips = ((), (-1,), (-2,), (-2, -1))
    predictor = Predictor(network, CPU, 4, flips)
    predictor.batch = 6  # no multiple of the flips
    parts = list(sliding_averages(array, grid, network, predictor, 4))
    logits = torch.cat([p[2] for p in parts], dim=1).numpy()
    expected = _reference(array, grid, network, flips)
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)
    assert np.abs(logits - _reference(array, grid, network)).max() > 1e-2


class Lazy:
    """An array on a disk, so to speak: remembers how much was read at once."""

    def __init__(self, array):
        self._array, self.shape, self.most = array, array.shape, 0

    def __getitem__(self, index):
        part = self._array[index]
        self.most = max(self.most, part.size)
        return part

    def __array__(self, *arguments, **named):
        raise AssertionError("the whole array was asked for")


def test_a_lazy_array_is_read_window_by_window(case):
    array, patch, network = case
    grid = window_grid(array.shape[1:], patch, 0.5)
    lazy = Lazy(array)
    predictor = Predictor(network, CPU, 4)
    values = np.array([0, 1, 2, 3], np.uint8)
    labels = sliding_labels(lazy, grid, network, predictor, values)
    assert lazy.most <= array.shape[0] * np.prod(patch)
    again = sliding_labels(array, grid, network, predictor, values)
    np.testing.assert_array_equal(labels, again)


def test_cancel_stops_before_the_next_window(case):
    array, patch, network = case
    grid = window_grid(array.shape[1:], patch, 0.5)
    asked = []

    def cancel():
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(CancelledError, match=f"{len(grid) - 1} of {len(grid)}"):
        sliding_labels(
            array,
            grid,
            network,
            Predictor(network, CPU, 4),
            np.arange(4, dtype=np.uint8),
            cancel=cancel,
        )
