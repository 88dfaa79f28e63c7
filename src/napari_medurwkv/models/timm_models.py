"""The encoders under names in timm's registry.

``timm.create_model("vrwkv_tiny_patch16_224", features_only=True)`` builds a `VRWKV`
once this package is imported; so do the other sizes, VRWKV6 and the adapters. Without
``features_only`` the plain ones are classifiers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.models import generate_default_cfgs, get_pretrained_cfg, register_model

from napari_medurwkv.models.config import ModelError
from napari_medurwkv.models.registry import create_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medurwkv.models.registry import Network

__all__ = ["TIMM_NAMES", "default_cfgs"]

_SIZES = {
    "vrwkv": {"tiny": 224, "small": 224, "base": 224, "large": 192},
    "vrwkv6": {"tiny": 224, "small": 224, "base": 224},
    "vrwkv_adapter": {"tiny": 224, "small": 224, "base": 224, "large": 192},
}

TIMM_NAMES = {
    f"{family}_{size}_patch16_{side}": f"{family}_{size}"
    for family, sides in _SIZES.items()
    for size, side in sides.items()
}
"""Name in timm's registry -> name for `create_model`."""

# timm hands these to every model; they concern weights that it would download.
_DOWNLOAD_ARGUMENTS = ("pretrained_cfg_overlay", "cache_dir")


def _published(file: str, side: int, labels: int = 1000) -> dict[str, Any]:
    return {
        "hf_hub_id": "OpenGVLab/Vision-RWKV",
        "hf_hub_filename": file,
        "license": "apache-2.0",
        "num_classes": labels,
        "input_size": (3, side, side),
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "patch_embed.projection",
        "classifier": "head.fc",
    }


default_cfgs = generate_default_cfgs(
    {
        f"vrwkv_{size}_patch16_224.in1k": _published(
            f"vrwkv_{size[0]}_in1k_224.pth", 224
        )
        for size in ("tiny", "small", "base")
    }
    | {
        f"vrwkv6_{size}_patch16_224.in1k": _published(
            f"vrwkv6_{size[0]}_in1k_224.pth", 224
        )
        for size in ("tiny", "small", "base")
    }
    | {
        "vrwkv_large_patch16_192.in22k_ft_in1k_384": _published(
            "vrwkv_l_22kto1k_384.pth", 384
        )
        | {"classifier": "head.2"},
        "vrwkv_large_patch16_192.in22k": _published("vrwkv_l_in22k_192.pth", 192, 21841)
        | {"classifier": "head.2"},
    }
)
"""The public file of each name, and the images that it was trained with."""


def _entry_point(timm_name: str, name: str) -> Callable[..., Network]:
    def build(
        pretrained: bool = False,
        features_only: bool = False,
        in_chans: int = 3,
        num_classes: int | None = None,
        pretrained_cfg: Any = None,
        **config: Any,
    ) -> Network:
        if pretrained:
            raise ModelError(
                f"timm cannot read the file of {timm_name}: fetch it with 'medurwkv "
                "models get', create the network without weights, and call "
                "load_encoder_weights."
            )
        for argument in _DOWNLOAD_ARGUMENTS:
            config.pop(argument, None)
        if features_only:
            network = create_model(name, in_channels=in_chans, **config)
        elif name.startswith("vrwkv_adapter"):
            raise ModelError(
                f"{timm_name} has no classification head: create it with "
                "features_only=True."
            )
        else:
            if num_classes is not None:
                config["num_labels"] = num_classes
            family, size = name.split("_")
            network = create_model(
                f"{family}_classifier_{size}", in_channels=in_chans, **config
            )
        cfg = pretrained_cfg or get_pretrained_cfg(timm_name)
        described: Any = network
        described.pretrained_cfg = described.default_cfg = cfg.to_dict() if cfg else {}
        return network

    build.__name__ = build.__qualname__ = timm_name
    build.__doc__ = f"Build the encoder {name}; see `create_model`."
    return build


for _timm_name, _name in TIMM_NAMES.items():
    register_model(_entry_point(_timm_name, _name))
