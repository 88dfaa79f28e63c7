"""Networks without weights equal those with weights in all but the values."""

from __future__ import annotations

import time

import pytest
import torch

from napari_medurwkv.models import (
    blank_network,
    build_model,
    create_model,
    list_models,
    model_config,
)
from napari_medurwkv.models.blank import is_blank


@pytest.mark.parametrize("name", list_models())
def test_every_tensor_is_shape_only(name: str) -> None:
    network = blank_network(model_config(name))
    assert all(value.is_meta for value in network.state_dict().values())
    assert not is_blank()


@pytest.mark.parametrize("name", ["med_urwkv_nano", "rwkv_unet_tiny", "vrwkv6_tiny"])
def test_filled_it_computes_the_same(name: str) -> None:
    config = model_config(name)
    whole = build_model(config).eval()
    blank = blank_network(config).eval()
    blank.load_state_dict(whole.state_dict(), assign=True)
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        expected, produced = whole(image), blank(image)
    torch.testing.assert_close(produced, expected, rtol=0, atol=0)


def test_others_keep_their_starting_values() -> None:
    blank_network(model_config("med_urwkv_nano"))
    network = create_model("med_urwkv_nano")
    assert all(value.isfinite().all() for value in network.state_dict().values())
    assert network.encoder.layers[0].att.spatial_decay[0].item() == pytest.approx(-5)


def test_it_takes_a_small_part_of_the_time() -> None:
    config = model_config("med_urwkv_tiny")
    blank_network(config)

    def seconds(build) -> float:  # type: ignore[no-untyped-def]
        start = time.perf_counter()
        build(config)
        return time.perf_counter() - start

    blank = min(seconds(blank_network) for _ in range(5))
    whole = min(seconds(build_model) for _ in range(2))
    assert blank < whole / 3
