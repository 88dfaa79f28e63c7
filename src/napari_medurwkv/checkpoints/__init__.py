"""Checkpoints: one .safetensors file with a model card in its header.

Only `Model`'s network, `load_model` and `save_checkpoint` need torch, and they import
it when they are called.
"""

from __future__ import annotations

from napari_medurwkv.checkpoints.card import (
    ClassInfo,
    CodedConcept,
    DataSource,
    InputChannel,
    InstanceRecipe,
    IntensityRecipe,
    Metric,
    ModelCard,
)
from napari_medurwkv.checkpoints.files import read_card, save_checkpoint
from napari_medurwkv.checkpoints.load import Model, load_model
from napari_medurwkv.checkpoints.lookup import (
    CatalogueEntry,
    catalogue,
    default_for,
    find,
    unusable,
    user_folder,
)

__all__ = [
    "CatalogueEntry",
    "ClassInfo",
    "CodedConcept",
    "DataSource",
    "InputChannel",
    "InstanceRecipe",
    "IntensityRecipe",
    "Metric",
    "Model",
    "ModelCard",
    "catalogue",
    "default_for",
    "find",
    "load_model",
    "read_card",
    "save_checkpoint",
    "unusable",
    "user_folder",
]
