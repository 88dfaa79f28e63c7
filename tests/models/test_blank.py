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


def facts(module: torch.nn.Module) -> dict[str, object]:
    """Return what a module is but for its tensors and its children."""
    own = vars(module)
    tables = ("_parameters", "_buffers", "_modules")
    return {
        name: value
        for name, value in own.items()
        if name not in tables and not isinstance(value, torch.Tensor)
    } | {table: list(own[table]) for table in tables}


@pytest.mark.parametrize("name", list_models())
def test_it_is_built_of_the_same_parts(name: str) -> None:
    config = model_config(name)
    # Parts that are like each other are copied; nothing may be shared or mixed up.
    blank = blank_network(config)
    with torch.device("meta"):
        whole = build_model(config)
    pairs = zip(blank.named_modules(), whole.named_modules(), strict=True)
    for (key, part), (other_key, other) in pairs:
        assert key == other_key
        assert type(part) is type(other), key
        assert facts(part).keys() == facts(other).keys(), key
        for fact, value in facts(part).items():
            if not hasattr(value, "__dict__"):
                assert value == facts(other)[fact], (key, fact)
    state = whole.state_dict()
    assert list(blank.state_dict()) == list(state)
    for key, value in blank.state_dict().items():
        assert value.shape == state[key].shape, key
        assert value.dtype == state[key].dtype, key
    parameters = list(blank.parameters())
    assert len(parameters) == len(list(whole.parameters()))
    for own, other_one in zip(parameters, whole.parameters(), strict=True):
        assert own.requires_grad == other_one.requires_grad


@pytest.mark.parametrize(
    "name", ["med_urwkv_nano", "rwkv_unet_tiny", "vrwkv6_tiny", "restore_rwkv"]
)
def test_filled_it_computes_the_same(name: str) -> None:
    config = model_config(name)
    whole = build_model(config).eval()
    blank = blank_network(config).eval()
    blank.load_state_dict(whole.state_dict(), assign=True)
    image = torch.rand(1, config.in_channels, 32, 32)
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
