"""One small network per family, and the ways in which programs save one."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.models import create_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

State = dict[str, "Tensor"]

TRUNK: dict[str, Any] = {"img_size": 32, "embed_dim": 16, "depth": 2}
SIXTH = TRUNK | {"embed_dim": 64}
ADAPTER = TRUNK | {"conv_inplane": 4, "deform_num_heads": 2, "interactions": 2}
UNET: dict[str, Any] = {
    "dims": (8, 8, 12, 16),
    "depths": (2, 2, 2, 2),
    "num_classes": 3,
    "segments": 32,
}

# Name, values, and the start of a file's keys that this family's program adds.
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "vrwkv": ("vrwkv_tiny", TRUNK | {"segments": 32}),
    "vrwkv classifier": (
        "vrwkv_classifier_tiny",
        TRUNK | {"num_labels": 5, "segments": 32},
    ),
    "vrwkv scaled": (
        "vrwkv_classifier_small",
        TRUNK | {"num_labels": 5, "segments": 32, "post_norm": False},
    ),
    "vrwkv large": (
        "vrwkv_classifier_large",
        TRUNK
        | {"num_labels": 5, "head_hidden": 7, "segments": 32, "post_norm": False}
        | {"layer_scale": 1.0},
    ),
    "vrwkv6": ("vrwkv6_tiny", SIXTH),
    "vrwkv6 classifier": ("vrwkv6_classifier_tiny", SIXTH | {"num_labels": 5}),
    "adapter": ("vrwkv_adapter_tiny", ADAPTER | {"segments": 16}),
    "upernet": (
        "upernet_vrwkv_tiny",
        ADAPTER | {"num_classes": 4, "head_dim": 8, "auxiliary_dim": 6, "segments": 16},
    ),
    "rwkv_unet": ("rwkv_unet_tiny", UNET),
    "rwkv_unet old": ("rwkv_unet_small", UNET | {"full_layout": False}),
    "rwkv_unet encoder": ("rwkv_unet_encoder_tiny", UNET),
    "restore_rwkv": (
        "restore_rwkv",
        {"dim": 8, "depths": (1, 2, 1, 1), "refinement": 1, "segments": 64},
    ),
    "med_urwkv": (
        "med_urwkv_nano",
        ADAPTER
        | {"bottleneck_dim": 16, "decoder_dims": (16, 12, 8), "final_dim": 4}
        | {"num_classes": 3},
    ),
}


def small(family: str) -> nn.Module:
    """Build the family's small network, with values that differ everywhere."""
    torch.manual_seed(0)
    name, config = SMALL[family]
    network = create_model(name, **config).eval()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(0.01 * torch.randn_like(value))
    # Recomputes what is made of others.
    network.load_state_dict(network.state_dict())
    return network


def published(network: nn.Module) -> State:
    """Return the state dict under the keys that the published program uses."""
    state = {key: value.clone() for key, value in network.state_dict().items()}
    return {key.removeprefix("backbone."): value for key, value in state.items()}


def _prefixed(prefix: str) -> Callable[[State], Any]:
    return lambda state: {prefix + key: value for key, value in state.items()}


def _mm(state: State) -> Any:
    """As mmcv saves: the encoder under ``backbone.``, meta data beside."""
    heads = ("head.", "decode_head.", "auxiliary_head.")
    named = OrderedDict(
        (key if key.startswith(heads) else f"backbone.{key}", value)
        for key, value in state.items()
    )
    return {"meta": {"epoch": 3, "mmcv_version": "1.7.0"}, "state_dict": named}


def _distributed(state: State) -> Any:
    model = {f"module.{key}": value for key, value in state.items()}
    return {"model": model, "optimizer": {"state": {}, "lr": 1e-3}, "epoch": 7}


def _lightning(state: State) -> Any:
    named = {f"model._orig_mod.{key}": value for key, value in state.items()}
    return {"state_dict": named, "epoch": 1, "global_step": 10, "callbacks": {}}


def _averaged(state: State) -> Any:
    raw = {key: torch.zeros_like(value) for key, value in state.items()}
    return {"model": raw, "model_ema": {"module": dict(state)}}


def _half(state: State) -> Any:
    return {
        key: value.half() if value.is_floating_point() else value
        for key, value in state.items()
    }


STYLES: dict[str, Callable[[State], Any]] = {
    "bare": dict,
    "mm": _mm,
    "model, module.": _distributed,
    "lightning": _lightning,
    "module": lambda state: {"module": dict(state)},
    "model_state_dict": lambda state: {"epoch": 1, "model_state_dict": dict(state)},
    "student.": _prefixed("student."),
    "module.backbone.": _prefixed("module.backbone."),
    "averages beside raw": _averaged,
    "half": _half,
}
