"""The bundled samples for napari's Open Sample menu."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medurwkv.widgets.reader import read_layers

if TYPE_CHECKING:
    from napari_medurwkv.widgets.reader import LayerData

__all__ = ["brain", "nuclei", "tissue"]


def nuclei() -> list[LayerData]:
    """Open the fluorescence microscopy sample (2D, grey)."""
    return _open("nuclei")


def tissue() -> list[LayerData]:
    """Open the stained tissue sample (2D, colour)."""
    return _open("tissue")


def brain() -> list[LayerData]:
    """Open the brain MRI sample (3D)."""
    return _open("brain")


def _open(name: str) -> list[LayerData]:
    from napari_medurwkv.samples import find_sample

    return read_layers(str(find_sample(name).path))
