from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medurwkv.errors import CancelledError, CheckpointError, ImageError
from napari_medurwkv.inference import segment
from napari_medurwkv.inference.features import slice_features
from napari_medurwkv.models import create_model

TINY = {
    "embed_dim": 16,
    "depth": 4,
    "conv_inplane": 8,
    "bottleneck_dim": 16,
    "decoder_dims": [16, 16, 16],
    "final_dim": 8,
    "num_classes": 2,
}


@pytest.fixture
def tiny(model, card):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_model("med_urwkv_nano", in_channels=1, **TINY)
    return model(network, card(patch_size=(64, 64)))


def test_maps_are_components_of_deviation_one(tiny, rng):
    picture = rng.random((90, 70)).astype(np.float32)
    found = slice_features(picture, tiny, device="cpu")
    assert found.maps.shape == (24, 90, 70) and found.maps.dtype == np.float16
    assert np.isfinite(found.maps).all()
    deviation = found.maps.astype(float).std(axis=(1, 2))
    # Interpolation and averaging of windows take a part of it away.
    assert (deviation > 0.2).all() and (deviation < 1.5).all()
    again = slice_features(picture, tiny, device="cpu")
    np.testing.assert_array_equal(found.maps, again.maps)


def test_log_odds_are_those_of_the_mask(model, card, networks, rng):
    picture = rng.random((70, 50)).astype(np.float32)
    made = model(networks["threshold"](), card())
    found = slice_features(picture, made, device="cpu")
    assert found.values == (0, 1)
    # A network without maps on its way has only these.
    assert found.maps.shape == (0, 70, 50)
    labels = segment(picture, made, device="cpu").labels
    sure = np.abs(found.odds[1].astype(float)) > 0.01
    np.testing.assert_array_equal((found.odds[1] > 0)[sure], (labels == 1)[sure])
    np.testing.assert_allclose(found.odds[0], -found.odds[1], atol=0.02)
    assert np.abs(found.odds).max() <= 12


def test_several_outputs_of_a_value_are_joined(model, card, networks, rng):
    network = networks["convolution"](1, 3)
    made = model(network, card(output_values=(0, 1, 1)))
    picture = rng.random((40, 40)).astype(np.float32)
    found = slice_features(picture, made, device="cpu")
    assert found.odds.shape == (2, 40, 40)


def test_slices_are_brought_to_the_size_that_a_network_works_at(
    model, volume_card, networks
):
    picture = np.zeros((20, 40), np.float32)
    picture[8:, 16:] = 1
    network = networks["threshold"](channel=1)
    made = model(network, volume_card())
    found = slice_features(picture, made, spacing=(2.0, 1.0), device="cpu")
    assert found.odds.shape == (2, 20, 40)
    inside = found.odds[1] > 0
    assert inside[9:, 17:].all() and not inside[:7].any() and not inside[:, :15].any()


def test_colours_are_taken_where_the_network_takes_them(model, card, networks, rng):
    picture = rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)
    with pytest.raises(ImageError, match="RGB"):
        slice_features(
            picture, model(networks["threshold"](), card()), rgb=True, device="cpu"
        )


def test_it_ends_when_it_is_not_wanted(tiny):
    with pytest.raises(CancelledError):
        slice_features(
            np.zeros((40, 40), np.float32), tiny, device="cpu", cancel=lambda: True
        )


def test_networks_that_clean_images_know_no_classes(model, card, networks):
    made = model(networks["threshold"](), card())
    cleaner = made.card.model_copy(update={"task": "restoration"})
    with pytest.raises(CheckpointError, match="no classes"):
        slice_features(
            np.zeros((40, 40), np.float32), model(made.network, cleaner), device="cpu"
        )
