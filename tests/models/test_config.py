"""Configurations survive JSON and refuse what no network can be built from."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from napari_medurwkv.errors import MedurwkvError
from napari_medurwkv.models import (
    AdapterConfig,
    MedURWKVConfig,
    ModelConfig,
    ModelError,
    VRWKVConfig,
    list_models,
    model_config,
)


@pytest.mark.parametrize("name", list_models())
def test_round_trip_through_json(name: str) -> None:
    config = model_config(name)
    text = json.dumps(config.to_dict())
    assert type(config).from_dict(json.loads(text)) == config


def test_absent_values_take_defaults() -> None:
    assert VRWKVConfig.from_dict({"depth": 3}) == VRWKVConfig(depth=3)


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        VRWKVConfig().depth = 3  # type: ignore[misc]


def test_unknown_value_lists_what_exists() -> None:
    with pytest.raises(ModelError, match=r"no 'widht'.*embed_dim.*out_indices"):
        VRWKVConfig.from_dict({"widht": 3})
    assert issubclass(ModelError, MedurwkvError)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (VRWKVConfig, {"depth": "12"}, "depth has to be a whole number"),
        (VRWKVConfig, {"depth": True}, "depth has to be a whole number"),
        (VRWKVConfig, {"depth": 0}, "depth has to be a whole number of at least 1"),
        (VRWKVConfig, {"in_channels": 1.0}, "in_channels has to be a whole number"),
        (VRWKVConfig, {"post_norm": 1}, "post_norm has to be true or false"),
        (VRWKVConfig, {"layer_scale": float("nan")}, "layer_scale has to be a finite"),
        (VRWKVConfig, {"drop_path": 1.0}, "drop_path has to be at least 0 and below"),
        (VRWKVConfig, {"shift_gamma": 0.3}, "shift_gamma has to lie between"),
        (VRWKVConfig, {"shift_pixels": -1}, "shift_pixels has to be"),
        (VRWKVConfig, {"init_mode": "plain"}, "fancy, local, global"),
        (VRWKVConfig, {"init_mode": 3}, "init_mode has to be a text"),
        (VRWKVConfig, {"out_indices": ()}, "out_indices names no block"),
        (VRWKVConfig, {"out_indices": (12,)}, "outside the 12 blocks"),
        (VRWKVConfig, {"out_indices": 3}, "out_indices has to be a tuple"),
        (AdapterConfig, {"depth": 3}, "3 blocks cannot serve 4 interactions"),
        (AdapterConfig, {"deform_num_heads": 7}, "split over 7 heads"),
        (AdapterConfig, {"deform_ratio": 0.001}, "deform_ratio leaves no channel"),
        (AdapterConfig, {"cffn_ratio": 0.001}, "cffn_ratio leaves"),
        (AdapterConfig, {"extra_extractors": -1}, "extra_extractors has to be"),
        (MedURWKVConfig, {"decoder_dims": (96, 64)}, "decoder_dims has to be three"),
        (MedURWKVConfig, {"decoder_depths": (1, 1, -1)}, "decoder_depths has to be"),
        (MedURWKVConfig, {"num_classes": 0}, "num_classes has to be"),
    ],
)
def test_refusals(
    kind: type[ModelConfig], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        kind(**values)


@pytest.mark.parametrize(
    "values", [{"decoder_depths": [0, 0, 1]}, {"extra_extractors": 0}]
)
def test_parts_may_be_left_out(values: dict[str, Any]) -> None:
    MedURWKVConfig.from_dict(values)
