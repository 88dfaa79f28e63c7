"""Resampling of one axis: equal to torch's where torch has it, and never shifted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool1d, interpolate

from napari_medurwkv.inference.resample import (
    box_taps,
    linear_taps,
    resample,
    triangle_taps,
)

SIZES = [(7, 7), (7, 12), (12, 7), (100, 33), (33, 100), (1, 5), (5, 1), (20, 19)]
MAKERS = [linear_taps, triangle_taps, box_taps]


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_triangle_equals_torch(inputs, outputs):
    data = torch.rand(1, 1, 3, inputs, generator=torch.Generator().manual_seed(0))
    expected = interpolate(
        data, (3, outputs), mode="bilinear", antialias=inputs > outputs
    )
    result = resample(data, triangle_taps(inputs, outputs), 3)
    torch.testing.assert_close(result, expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_linear_equals_torch(inputs, outputs):
    data = torch.rand(1, 1, inputs, generator=torch.Generator().manual_seed(0))
    expected = interpolate(data, outputs, mode="linear", align_corners=False)
    result = resample(data, linear_taps(inputs, outputs), 2)
    torch.testing.assert_close(result, expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 4), (100, 33), (20, 19), (5, 1)])
def test_box_averages_what_each_output_covers(inputs, outputs):
    data = torch.rand(1, 1, inputs, generator=torch.Generator().manual_seed(0))
    fine = data.repeat_interleave(outputs, dim=2)
    expected = adaptive_avg_pool1d(fine, outputs)
    result = resample(data, box_taps(inputs, outputs), 2)
    torch.testing.assert_close(result, expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_constant_stays_and_mirror_image_stays_mirrored(make, inputs, outputs):
    taps = make(inputs, outputs)
    np.testing.assert_allclose(taps.weight.sum(axis=1), 1, atol=1e-6)
    data = torch.rand(inputs, generator=torch.Generator().manual_seed(0))
    forward = resample(data, taps, 0)
    backward = resample(data.flip(0), taps, 0).flip(0)
    torch.testing.assert_close(forward, backward, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_a_ramp_keeps_its_place(make, inputs, outputs):
    # Physical centres: a ramp of positions comes back as the new positions.
    old = (np.arange(inputs) + 0.5) / inputs
    new = (np.arange(outputs) + 0.5) / outputs
    result = resample(torch.from_numpy(old).float(), make(inputs, outputs), 0).numpy()
    reach = max(1 / inputs, 1 / outputs)
    inner = (new > reach) & (new < 1 - reach)
    # Averages over parts of points wobble, by less than a twentieth of a point.
    exact = make is linear_taps or outputs >= inputs
    tolerance = 1e-6 if exact else 0.05 / outputs
    np.testing.assert_allclose(result[inner], new[inner], atol=tolerance)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_outputs_are_ready_as_soon_as_their_inputs_are(make, inputs, outputs):
    taps = make(inputs, outputs)
    for available in range(inputs + 1):
        ready = sum(
            max(i for i, _ in taps.pairs(k)) < available for k in range(outputs)
        )
        assert taps.ready(available) == ready


def test_a_part_equals_the_same_part_of_the_whole():
    taps = triangle_taps(50, 23)
    data = torch.rand(2, 50, generator=torch.Generator().manual_seed(0))
    low, high = taps.span(7, 15)
    part = resample(data[:, low:high], taps, 1, first=7, end=15, offset=low)
    assert torch.equal(part, resample(data, taps, 1)[:, 7:15])


def test_planes_between_which_no_slice_lies_are_not_used():
    assert linear_taps(12, 4).used().tolist() == [1, 4, 7, 10]
    assert linear_taps(16, 4).used().tolist() == [1, 2, 5, 6, 9, 10, 13, 14]
