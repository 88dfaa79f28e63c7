"""Starting the encoder from a file, and which tensors are then frozen for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["fill_encoder"]

_OWN = "encoder."
_NESTS = ("state_dict", "model")


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
    from napari_medurwkv.models import load_encoder_weights

    state = _read(path)
    own = {
        key.removeprefix(_OWN): value
        for key, value in state.items()
        if key.startswith(_OWN)
    }
    report = load_encoder_weights(network, own or state)
    return frozenset(f"{_OWN}{key}" for key in (*report.taken, *report.resized))


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"The encoder checkpoint {path} does not exist.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What a damaged file makes the readers raise is not one family of errors.
        raise CheckpointError(
            f"The encoder checkpoint {path.name} cannot be read as .safetensors or as "
            f"a PyTorch file of plain tensors: {error}"
        ) from error
    for nest in _NESTS:
        content = content.get(nest, content)
    state: dict[str, Tensor] = content
    return state
