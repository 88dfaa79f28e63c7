"""The tensors of a file that an encoder can start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medurwkv.checkpoints.unwrap import strip_prefixes
from napari_medurwkv.checkpoints.weights import read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["read_encoder_weights"]


def read_encoder_weights(path: Path) -> dict[str, Tensor]:
    """Read a file for `models.load_encoder_weights`.

    Parameters
    ----------
    path : Path
        Any checkpoint file: .safetensors, or what torch wrote.

    Returns
    -------
    dict of str to Tensor
        Unwrapped, without the wrappers' prefixes, floating-point tensors as float32.

    Raises
    ------
    CheckpointError
        The file is no sound checkpoint.
    """
    import torch

    weights = read_weights(path)
    renamed, _ = strip_prefixes(weights.tensors)
    return {
        renamed[key]: value.to(torch.float32) if value.is_floating_point() else value
        for key, value in weights.tensors.items()
    }
