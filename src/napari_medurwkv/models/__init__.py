"""The networks: Med-URWKV, and the published ones whose weights can be loaded."""

# ruff: noqa: E402
from __future__ import annotations

from napari_medurwkv.models.torchvision_guard import guard_torchvision

# Before the first import of timm.
guard_torchvision()

from napari_medurwkv.models.adapter import VRWKVAdapter
from napari_medurwkv.models.blocks import Block, BlockConfig
from napari_medurwkv.models.classifier import Classifier
from napari_medurwkv.models.config import (
    AdapterConfig,
    MedURWKVConfig,
    ModelConfig,
    ModelError,
    NetworkConfig,
    VRWKVConfig,
)
from napari_medurwkv.models.config_published import (
    ClassifierConfig,
    RestoreRWKVConfig,
    RWKVUNetConfig,
    RWKVUNetEncoderConfig,
    UPerNetConfig,
    VRWKV6ClassifierConfig,
    VRWKV6Config,
)
from napari_medurwkv.models.encoder_weights import EncoderReport, load_encoder_weights
from napari_medurwkv.models.med_urwkv import MedURWKV
from napari_medurwkv.models.registry import (
    Network,
    blank_network,
    build_model,
    create_model,
    list_models,
    model_config,
)
from napari_medurwkv.models.restore_rwkv import RestoreRWKV
from napari_medurwkv.models.rwkv_unet import RWKVUNet, RWKVUNetEncoder
from napari_medurwkv.models.shift import q_shift
from napari_medurwkv.models.timm_models import TIMM_NAMES
from napari_medurwkv.models.upernet import UPerNet
from napari_medurwkv.models.vrwkv import VRWKV, VRWKV6

__all__ = [
    "TIMM_NAMES",
    "VRWKV",
    "VRWKV6",
    "AdapterConfig",
    "Block",
    "BlockConfig",
    "Classifier",
    "ClassifierConfig",
    "EncoderReport",
    "MedURWKV",
    "MedURWKVConfig",
    "ModelConfig",
    "ModelError",
    "Network",
    "NetworkConfig",
    "RWKVUNet",
    "RWKVUNetConfig",
    "RWKVUNetEncoder",
    "RWKVUNetEncoderConfig",
    "RestoreRWKV",
    "RestoreRWKVConfig",
    "UPerNet",
    "UPerNetConfig",
    "VRWKV6ClassifierConfig",
    "VRWKV6Config",
    "VRWKVAdapter",
    "VRWKVConfig",
    "blank_network",
    "build_model",
    "create_model",
    "list_models",
    "load_encoder_weights",
    "model_config",
    "q_shift",
]
