"""The encoders under names in timm's registry.

``timm.create_model("vrwkv_tiny_patch16_224", features_only=True)`` builds a `VRWKV`
once this package is imported; so do the other sizes, and the adapters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.models import register_model

from napari_medurwkv.models.config import ModelError
from napari_medurwkv.models.registry import create_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medurwkv.models.registry import Network

__all__ = ["TIMM_NAMES"]

TIMM_NAMES = {
    f"{family}_{size}_patch16_{side}": f"{family}_{size}"
    for family in ("vrwkv", "vrwkv_adapter")
    for size, side in (("tiny", 224), ("small", 224), ("base", 224), ("large", 192))
}
"""Name in timm's registry -> name for `create_model`."""

# timm hands these to every model; they concern weights that it would download.
_DOWNLOAD_ARGUMENTS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def _entry_point(timm_name: str, name: str) -> Callable[..., Network]:
    def build(
        pretrained: bool = False,
        features_only: bool = False,
        in_chans: int = 3,
        **config: Any,
    ) -> Network:
        if pretrained:
            raise ModelError(
                f"timm cannot download weights of {timm_name}: create it without "
                "them and call load_encoder_weights with a file of yours."
            )
        if not features_only:
            raise ModelError(
                f"{timm_name} has no classification head: create it with "
                "features_only=True."
            )
        for argument in _DOWNLOAD_ARGUMENTS:
            config.pop(argument, None)
        return create_model(name, in_channels=in_chans, **config)

    build.__name__ = build.__qualname__ = timm_name
    build.__doc__ = f"Build the encoder {name}; see `create_model`."
    return build


for _timm_name, _name in TIMM_NAMES.items():
    register_model(_entry_point(_timm_name, _name))
