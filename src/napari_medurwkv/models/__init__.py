"""The networks: Vision-RWKV, its adapter, and Med-URWKV."""

# ruff: noqa: E402
from __future__ import annotations

from napari_medurwkv.models.torchvision_guard import guard_torchvision

# Before the first import of timm.
guard_torchvision()

from napari_medurwkv.models.adapter import VRWKVAdapter
from napari_medurwkv.models.blocks import Block, BlockConfig
from napari_medurwkv.models.config import (
    AdapterConfig,
    MedURWKVConfig,
    ModelConfig,
    ModelError,
    VRWKVConfig,
)
from napari_medurwkv.models.encoder_weights import EncoderReport, load_encoder_weights
from napari_medurwkv.models.med_urwkv import MedURWKV
from napari_medurwkv.models.registry import (
    Network,
    build_model,
    create_model,
    list_models,
    model_config,
)
from napari_medurwkv.models.shift import q_shift
from napari_medurwkv.models.timm_models import TIMM_NAMES
from napari_medurwkv.models.vrwkv import VRWKV

__all__ = [
    "TIMM_NAMES",
    "VRWKV",
    "AdapterConfig",
    "Block",
    "BlockConfig",
    "EncoderReport",
    "MedURWKV",
    "MedURWKVConfig",
    "ModelConfig",
    "ModelError",
    "Network",
    "VRWKVAdapter",
    "VRWKVConfig",
    "build_model",
    "create_model",
    "list_models",
    "load_encoder_weights",
    "model_config",
    "q_shift",
]
