"""From an image and a model to a mask: windows, devices, progress.

Names that need torch are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_medurwkv.inference.result import Progress, Segmentation

if TYPE_CHECKING:
    from napari_medurwkv.inference.device import DeviceChoice, choose_device
    from napari_medurwkv.inference.instances import separate_objects
    from napari_medurwkv.inference.intensity import IntensityScale, fit_intensity
    from napari_medurwkv.inference.probabilities import Probabilities
    from napari_medurwkv.inference.redecide import Settings, redecide
    from napari_medurwkv.inference.restoration import Restoration, restore
    from napari_medurwkv.inference.segmentation import segment

__all__ = [
    "DeviceChoice",
    "IntensityScale",
    "Probabilities",
    "Progress",
    "Restoration",
    "Segmentation",
    "Settings",
    "choose_device",
    "fit_intensity",
    "redecide",
    "restore",
    "segment",
    "separate_objects",
]

_HOMES = {
    "DeviceChoice": "device",
    "IntensityScale": "intensity",
    "Probabilities": "probabilities",
    "Restoration": "restoration",
    "Settings": "redecide",
    "choose_device": "device",
    "fit_intensity": "intensity",
    "redecide": "redecide",
    "restore": "restoration",
    "segment": "segmentation",
    "separate_objects": "instances",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
