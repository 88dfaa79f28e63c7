"""Making checkpoints: ``medurwkv train``."""

from __future__ import annotations

from napari_medurwkv.training.config import ConfigError, TrainConfig, read_config

__all__ = ["ConfigError", "TrainConfig", "read_config", "train"]


def __getattr__(name: str) -> object:
    if name == "train":
        from napari_medurwkv.training.run import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
