"""Making checkpoints: ``medurwkv train``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medurwkv.training.config import ConfigError, TrainConfig, read_config

if TYPE_CHECKING:
    from napari_medurwkv.training.run import train

__all__ = ["ConfigError", "TrainConfig", "read_config", "train"]


def __getattr__(name: str) -> Any:
    # Checking a configuration should not have to wait for Lightning and torch.
    if name == "train":
        import napari_medurwkv.models  # noqa: F401  (torchvision first, then Lightning)
        from napari_medurwkv.training.run import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
