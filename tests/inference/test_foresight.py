"""What a run will take is told before, and what cannot fit is refused."""

from __future__ import annotations

import time

import numpy as np
import pytest
from torch import nn

from napari_medurwkv.errors import CancelledError, ImageError
from napari_medurwkv.inference.forecast import Foresight, duration
from napari_medurwkv.inference.foresight import foresee, room
from napari_medurwkv.inference.memory import free_memory
from napari_medurwkv.inference.plan import make_plan

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
    assert fake.network.calls < 30
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
    huge = Foresight(1, 1.0, 2**50, 2**40, "a computer", 2**50)
    with pytest.raises(
        ImageError, match=r"GiB are free; close other programs, segment a"
    ):
        huge.check(2**30, None)
    with pytest.raises(ImageError, match="or choose cpu as"):
        huge.check(None, 2**30)
    huge.check(None, None)
    Foresight(1, 1.0, None, 0, "a computer").check(0, None)


def test_free_memory_is_a_number_or_unknown():
    host, device = free_memory("cpu")
    assert host is None or 0 < host < 2**50
    assert device is None


def test_what_a_window_costs_is_remembered(case):
    picture, fake = case
    first = foresee(picture, fake, device="cpu")
    calls = fake.network.calls
    again = foresee(picture, fake, device="cpu")
    assert fake.network.calls == calls
    assert again.seconds == pytest.approx(first.seconds, rel=0.5)
    foresee(picture, fake, device="cpu", tta=True)
    assert fake.network.calls > calls


def test_a_part_costs_its_windows(case):
    picture, fake = case
    whole = foresee(picture, fake, device="cpu")
    part = (slice(0, 6), slice(0, 20), slice(0, 20))
    small = foresee(picture, fake, device="cpu", region=part)
    assert small.windows < whole.windows / 10
    assert small.seconds < whole.seconds / 2


def test_a_mask_on_the_disk_takes_no_memory_and_a_part_less(case):
    picture, fake = case
    part = (slice(0, 6), slice(0, 20), slice(0, 20))

    def room_of(region=None, *, mask):
        plan = make_plan(picture.geometry, fake.card, 0.5, region)
        return room(plan, fake, instances=False, cuda=False, mask=mask)

    assert room_of(mask=True) - room_of(mask=False) == 6 * 200 * 120
    assert room_of(part, mask=True) - room_of(part, mask=False) == 6 * 20 * 20
    assert room_of(part, mask=False) < room_of(mask=False)


def test_the_forecast_ends_when_it_is_told(case):
    picture, fake = case
    with pytest.raises(CancelledError):
        foresee(picture, fake, device="cpu", cancel=lambda: fake.network.calls > 0)
    assert fake.network.calls == 1


def test_a_run_that_cannot_fit_is_refused_before_its_first_window(
    case, monkeypatch, image
):
    from napari_medurwkv.inference import foresight, segment

    picture, fake = case
    monkeypatch.setattr(foresight, "free_memory", lambda device: (100_000, None))
    with pytest.raises(ImageError, match="or write the mask into a zarr"):
        segment(picture, fake, device="cpu")
    assert fake.network.calls == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (12.4, "12 s"), (89, "89 s"), (100, "1.7 min"), (9000, "2.5 h")],
)
def test_lengths_of_time_are_said_with_two_digits(seconds, text):
    assert duration(seconds) == text


def test_a_forecast_in_words():
    told = Foresight(9, 75, 1_200_000_000, 800_000_000, "a computer")
    assert told.text == "About 75 s, 1.2 GB of memory, 0.8 GB of the GPU's"
    assert Foresight(9, 75, None, 0, "a computer").text == "About 75 s"


def test_a_piece_of_a_run_tells_of_the_rest(volume_card, model, networks, image, rng):
    from napari_medurwkv.inference.device import choose_device
    from napari_medurwkv.inference.pilot import seconds_per_plane
    from napari_medurwkv.inference.plan import make_plan
    from napari_medurwkv.inference.predictor import Predictor

    card = volume_card(spacing=None)
    fake = model(Sleepy(networks["convolution"](3, 2)), card)
    picture = image(rng.random((60, 30, 50)).astype(np.float32), (1, 1, 1))
    predictor = Predictor(fake.network, choose_device("cpu"), 2)
    plan = make_plan(picture.geometry, card, 0.5)
    each = seconds_per_plane(
        picture, fake, plan, predictor, overlap=0.5, instances=False
    )
    windows = len(plan.grid)
    assert NAP * windows <= each < 3 * NAP * windows
    small = image(rng.random((20, 30, 50)).astype(np.float32), (1, 1, 1))
    plan = make_plan(small.geometry, card, 0.5)
    nothing = seconds_per_plane(
        small, fake, plan, predictor, overlap=0.5, instances=False
    )
    assert nothing is None
