"""Segment medical images with RWKV U-Nets, in napari or headless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medurwkv.version import __version__

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import load_model
    from napari_medurwkv.inference import segment

__all__ = ["__version__", "load_model", "segment"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: only those who segment pay for it.
    if name == "segment":
        from napari_medurwkv.inference import segment

        return segment
    if name == "load_model":
        from napari_medurwkv.checkpoints import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
