"""What a run will take is told before, and what cannot fit is refused."""

from __future__ import annotations

import time

import numpy as np
import pytest
from torch import nn

from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.foresight import Foresight, foresee, free_memory

NAP = 0.02


class Sleepy(nn.Module):
    """Takes the same time for every window, on any computer."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        time.sleep(NAP)
        return self.network(x)


@pytest.fixture
def case(card, volume_card, model, networks, image, rng):
    array = rng.random((6, 200, 120)).astype(np.float32)
    network = Sleepy(networks["convolution"](3, 2))
    return image(array, (2, 1, 0.8)), model(network, volume_card())


def test_time_is_that_of_the_windows(case):
    picture, fake = case
    forecast = foresee(picture, fake, device="cpu")
    assert forecast.windows == 12 * 12 * 5
    assert fake.network.calls < 10
    # Everything but the naps is small, unless the computer is very busy.
    assert NAP <= forecast.seconds / forecast.windows < 3 * NAP


def test_mirror_images_cost_as_many_times_more(case):
    picture, fake = case
    forecast = foresee(picture, fake, device="cpu", tta=True)
    assert forecast.seconds / forecast.windows >= 4 * NAP


def test_memory_holds_the_mask(case):
    picture, fake = case
    forecast = foresee(picture, fake, device="cpu")
    assert forecast.host_bytes is None or forecast.host_bytes > 50e6
    assert forecast.device_bytes == 0
    assert forecast.device.endswith("as asked for")


def test_the_mask_of_a_large_volume_is_counted(card, model, networks, image):
    array = np.broadcast_to(np.zeros((), np.uint8), (40_000, 40_000))
    picture = image(array)
    forecast = foresee(picture, model(networks["threshold"](), card()), device="cpu")
    if forecast.host_bytes is None:
        pytest.skip("this system does not tell how much memory a process has")
    assert 1.6e9 < forecast.host_bytes < 3.5e9


def test_what_cannot_fit_is_refused_with_a_way_out():
    huge = Foresight(1, 1.0, 2**50, 2**40, "a computer")
    with pytest.raises(ImageError, match=r"GiB are free; close other programs, crop"):
        huge.check(2**30, None)
    with pytest.raises(ImageError, match="or choose cpu"):
        huge.check(None, 2**30)
    huge.check(None, None)
    Foresight(1, 1.0, None, 0, "a computer").check(0, None)


def test_free_memory_is_a_number_or_unknown():
    host, device = free_memory("cpu")
    assert host is None or 0 < host < 2**50
    assert device is None
