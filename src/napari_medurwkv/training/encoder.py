"""Starting the encoder from a file, and which tensors are then frozen for a while."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__all__ = ["fill_encoder"]

_LOG = logging.getLogger(__name__)


def fill_encoder(network: nn.Module, path: Path) -> frozenset[str]:
    """Fill a Med-URWKV's encoder from a published file or from one of our own.

    Parameters
    ----------
    network : torch.nn.Module
        A Med-URWKV.
    path : Path
        ``.safetensors``, or a PyTorch file that holds nothing but tensors.

    Returns
    -------
    frozenset of str
        Names of the network's tensors that were filled.

    Raises
    ------
    CheckpointError
        The file cannot be read, or its tensors do not fit the encoder.
    """
    from napari_medurwkv.checkpoints.encoder_file import read_encoder_weights
    from napari_medurwkv.models import load_encoder_weights

    if not path.is_file():
        raise CheckpointError(f"The encoder checkpoint {path} does not exist.")
    report = load_encoder_weights(network, read_encoder_weights(path))
    for sentence in report.sentences():
        _LOG.info("%s: %s.", path.name, sentence)
    return frozenset(f"encoder.{key}" for key in (*report.taken, *report.resized))
