"""Load a checkpoint: every tensor in its place, or a sentence that says why not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medurwkv.checkpoints.container import (
    LENGTH_BYTES,
    parse_header,
    read_header,
)
from napari_medurwkv.checkpoints.files import card_of
from napari_medurwkv.checkpoints.lookup import find
from napari_medurwkv.checkpoints.wording import listed
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from napari_medurwkv.checkpoints.card import ModelCard

__all__ = ["Model", "load_model"]


@dataclass(frozen=True, slots=True)
class Model:
    """A network with its weights, and what has to be known to use it.

    Attributes
    ----------
    network : torch.nn.Module
        float32, evaluation mode, on the CPU.
    card : ModelCard
        Its description.
    path : Path
        The file it came from.
    sha256 : str
        Of that file, hexadecimal.
    """

    network: nn.Module
    card: ModelCard
    path: Path
    sha256: str


def load_model(name_or_path: str | Path) -> Model:
    """Load a checkpoint by the name of a known model or from a file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `catalogue`, or a .safetensors file.

    Returns
    -------
    Model
        Its network is in float32 and evaluation mode, on the CPU.

    Raises
    ------
    CheckpointError
        There is no such model, or the file is anything but a sound checkpoint whose
        card is valid and whose tensors are exactly its architecture's.

    Examples
    --------
    >>> load_model("nuclei").card.title  # doctest: +SKIP
    'Nuclei in microscopy'
    """
    path = find(name_or_path).path
    header = read_header(path)
    card = card_of(header, path.name)

    # Imports torch: what is wrong so far is told without waiting for it.
    from napari_medurwkv.checkpoints.fit import (
        build_network,
        check_tensors,
        network_config,
        tensor_infos,
    )

    config = network_config(card, path.name)
    network = build_network(config, path.name, device="meta")
    # Shapes first: a file of the wrong shapes, however large, is never read.
    check_tensors(
        tensor_infos(network.state_dict()),
        header.tensors,
        path.name,
        card.architecture,
    )
    data = _read_whole(path)
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    text = data[LENGTH_BYTES : LENGTH_BYTES + length]
    if parse_header(text, len(data) - LENGTH_BYTES - length, path.name) != header:
        raise CheckpointError(f"{path.name} changed while it was read: load it again.")
    tensors = _tensors(data, path.name)
    network.load_state_dict(tensors, assign=True)
    if any(buffer.is_meta for buffer in network.buffers()):
        # Buffers that no file holds get their values where a network is really built.
        network = build_network(config, path.name, device="cpu")
        network.load_state_dict(tensors)
    return Model(network.eval(), card, path, hashlib.sha256(data).hexdigest())


def _read_whole(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "there is not enough memory"
        raise CheckpointError(f"{path.name} cannot be read: {reason}.") from error


def _tensors(data: bytes, name: str) -> dict[str, Tensor]:
    """Unpack the tensors, floating-point ones as float32."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from napari_medurwkv.checkpoints.fit import not_finite

    try:
        stored = load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{name} is damaged: {error}.") from error
    tensors = {
        key: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for key, tensor in stored.items()
    }
    spoilt = not_finite(tensors)
    if spoilt:
        raise CheckpointError(
            f"{name} cannot be used: it holds NaN or infinity in "
            f"{listed(spoilt, ', ')}."
        )
    return tensors
