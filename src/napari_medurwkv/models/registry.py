"""Names of the networks, the values behind each name, and how to build one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from napari_medurwkv.models.adapter import VRWKVAdapter
from napari_medurwkv.models.blank import Blank
from napari_medurwkv.models.classifier import Classifier
from napari_medurwkv.models.config import (
    AdapterConfig,
    MedURWKVConfig,
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
from napari_medurwkv.models.med_urwkv import MedURWKV
from napari_medurwkv.models.restore_rwkv import RestoreRWKV
from napari_medurwkv.models.rwkv_unet import RWKVUNet, RWKVUNetEncoder
from napari_medurwkv.models.upernet import UPerNet
from napari_medurwkv.models.vrwkv import VRWKV, VRWKV6

__all__ = [
    "Network",
    "blank_network",
    "build_model",
    "create_model",
    "list_models",
    "model_config",
]

# Published values: Vision-RWKV's configurations, and for "nano" our own.
_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 192, "depth": 12},
    "small": {"embed_dim": 384, "depth": 12, "post_norm": True},
    "base": {"embed_dim": 768, "depth": 12, "post_norm": True},
    "large": {
        "embed_dim": 1024,
        "depth": 24,
        "post_norm": True,
        "key_norm": True,
        "img_size": 192,
    },
}
_PLAIN: dict[str, dict[str, Any]] = {
    "tiny": {"layer_scale": None},
    "small": {"layer_scale": 1.0},
    "base": {"layer_scale": 1e-5},
    "large": {"layer_scale": 1e-5},
}
_ADAPTER: dict[str, dict[str, Any]] = {
    "tiny": {"deform_num_heads": 6},
    "small": {"deform_num_heads": 6},
    "base": {"deform_num_heads": 12, "deform_ratio": 0.5},
    "large": {"deform_num_heads": 16, "deform_ratio": 0.5},
}
_NANO: dict[str, Any] = {
    "embed_dim": 96,
    "depth": 8,
    "conv_inplane": 32,
    "deform_num_heads": 4,
}
_DECODERS: dict[str, dict[str, Any]] = {
    "nano": {
        "bottleneck_dim": 96,
        "decoder_dims": (96, 64, 48),
        "decoder_depths": (1, 1, 1),
        "final_dim": 24,
    },
    "tiny": {
        "bottleneck_dim": 192,
        "decoder_dims": (192, 192, 96),
        "decoder_depths": (4, 4, 4),
        "final_dim": 64,
    },
    "small": {
        "bottleneck_dim": 384,
        "decoder_dims": (384, 192, 96),
        "decoder_depths": (4, 4, 4),
        "final_dim": 64,
    },
}


_PLAIN6: dict[str, dict[str, Any]] = {
    "tiny": {"layer_scale": None},
    "small": {"layer_scale": 1e-5},
    "base": {"layer_scale": 1e-5},
}
_UNET: dict[str, dict[str, Any]] = {
    "tiny": {
        "dims": (32, 48, 96, 160),
        "depths": (2, 2, 4, 2),
        "expansions": (2.0, 2.5, 3.0, 3.5),
    },
    "small": {
        "dims": (32, 64, 128, 192),
        "depths": (3, 3, 6, 3),
        "expansions": (2.0, 2.5, 3.0, 4.0),
    },
    "base": {
        "dims": (48, 72, 144, 240),
        "depths": (3, 3, 6, 3),
        "expansions": (2.0, 2.5, 4.0, 4.0),
    },
}


Network = (
    VRWKV
    | VRWKVAdapter
    | MedURWKV
    | Classifier
    | UPerNet
    | RWKVUNet
    | RWKVUNetEncoder
    | RestoreRWKV
)


def _named_configs() -> dict[str, NetworkConfig]:
    named: dict[str, NetworkConfig] = {"restore_rwkv": RestoreRWKVConfig()}
    for size, decoder in _DECODERS.items():
        trunk = _NANO if size == "nano" else _SIZES[size] | _ADAPTER[size]
        named[f"med_urwkv_{size}"] = MedURWKVConfig(**trunk, **decoder)
    for size, values in _SIZES.items():
        plain, adapter = values | _PLAIN[size], values | _ADAPTER[size]
        hidden = 3 * values["embed_dim"] if size == "large" else 0
        named[f"vrwkv_{size}"] = VRWKVConfig(**plain)
        named[f"vrwkv_classifier_{size}"] = ClassifierConfig(
            **plain, head_hidden=hidden
        )
        named[f"vrwkv_adapter_{size}"] = AdapterConfig(**adapter)
        named[f"upernet_vrwkv_{size}"] = UPerNetConfig(**adapter)
    for size, values in _PLAIN6.items():
        plain = _SIZES[size] | values
        named[f"vrwkv6_{size}"] = VRWKV6Config(**plain)
        named[f"vrwkv6_classifier_{size}"] = VRWKV6ClassifierConfig(**plain)
    for size, values in _UNET.items():
        named[f"rwkv_unet_{size}"] = RWKVUNetConfig(**values)
        named[f"rwkv_unet_encoder_{size}"] = RWKVUNetEncoderConfig(**values)
    return named


_CONFIGS = _named_configs()


def list_models() -> list[str]:
    """Return the names that `create_model` knows, sorted."""
    return sorted(_CONFIGS)


def model_config(name: str, **overrides: Any) -> NetworkConfig:
    """Return the configuration behind a name.

    Parameters
    ----------
    name : str
        One of `list_models`.
    **overrides
        Values to replace, by the names of the configuration's fields.

    Returns
    -------
    NetworkConfig
        Of the family that the name belongs to.

    Raises
    ------
    ModelError
        The name or an argument is unknown, or a value does not fit.
    """
    try:
        config = _CONFIGS[name]
    except KeyError:
        close = get_close_matches(name, _CONFIGS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ModelError(
            f"There is no model {name!r}: the models are "
            f"{', '.join(list_models())}.{hint}"
        ) from None
    return type(config).from_dict(config.to_dict() | overrides)


def create_model(name: str, **config: Any) -> Network:
    """Build a network by name, with fresh weights.

    Parameters
    ----------
    name : str
        One of `list_models`.
    **config
        Values that replace the size's own, by the names of the fields of its
        configuration.

    Returns
    -------
    torch.nn.Module
        Of the name's family, in training mode; its attribute ``config`` rebuilds it
        through `build_model`.

    Raises
    ------
    ModelError
        The name or an argument is unknown, or a value does not fit.

    Examples
    --------
    >>> create_model("med_urwkv_nano", num_classes=3, in_channels=1).config.embed_dim
    96
    """
    return build_model(model_config(name, **config))


def build_model(config: NetworkConfig) -> Network:
    """Build the network that a configuration describes, with fresh weights.

    Raises
    ------
    ModelError
        The configuration is of no family that exists.
    """
    # The most special first: each configuration extends the one below it.
    for kind, network in _FAMILIES:
        if isinstance(config, kind):
            built: Network = network(config)
            return built
    raise ModelError(f"No network is built from a {type(config).__name__}.")


def blank_network(config: NetworkConfig) -> Network:
    """Build a network on the meta device: it has shapes, but no values.

    Buffers and parameters are to be replaced, with ``load_state_dict(assign=True)``.

    Raises
    ------
    ModelError
        The configuration is of no family that exists.
    """
    with Blank():
        return build_model(config)


_FAMILIES: tuple[tuple[type[NetworkConfig], Any], ...] = (
    (MedURWKVConfig, MedURWKV),
    (UPerNetConfig, UPerNet),
    (AdapterConfig, VRWKVAdapter),
    (VRWKV6ClassifierConfig, Classifier),
    (VRWKV6Config, VRWKV6),
    (ClassifierConfig, Classifier),
    (VRWKVConfig, VRWKV),
    (RWKVUNetEncoderConfig, RWKVUNetEncoder),
    (RWKVUNetConfig, RWKVUNet),
    (RestoreRWKVConfig, RestoreRWKV),
)
