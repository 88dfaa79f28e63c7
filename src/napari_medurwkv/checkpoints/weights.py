"""The tensors of any checkpoint file, mapped from the disk, and what was around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.archive import open_archive
from napari_medurwkv.checkpoints.container import read_header, sniff
from napari_medurwkv.checkpoints.unwrap import unwrap
from napari_medurwkv.checkpoints.wording import listed, quoted
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from napari_medurwkv.checkpoints.container import Header

__all__ = ["Weights", "map_tensors", "read_weights"]


@dataclass(frozen=True, slots=True)
class Weights:
    """What a file holds.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        Mapped from the file, in its types and its order.
    format : {"safetensors", "torch"}
    metadata : mapping of str to str
        Of a safetensors header.
    container : str
        Names of the dictionaries around the tensors.
    averaged : bool or None
        Whether these are moving averages; None where the file has only one kind.
    left_out : tuple of str
        What lay beside the tensors.
    """

    tensors: Mapping[str, Tensor]
    format: str
    metadata: Mapping[str, str]
    container: str = ""
    averaged: bool | None = None
    left_out: tuple[str, ...] = ()


def read_weights(
    path: Path, *, averaged: bool | None = None, tensors_only: bool = False
) -> Weights:
    """Open a checkpoint file of any kind; no tensor is read yet.

    Parameters
    ----------
    path : Path
        A .safetensors file, or one that torch wrote.
    averaged : bool, optional
        Which weights to take where a file has both; the moving averages by default.
    tensors_only : bool
        Accept a torch file that names program parts, and leave them out.

    Raises
    ------
    CheckpointError
        The file is none of these, or not sound, or its weights are not plain tensors.
    """
    if sniff(path) == "safetensors":
        header = read_header(path)
        return Weights(map_tensors(path, header), "safetensors", header.metadata)
    content = open_archive(path, tensors_only=tensors_only)
    found = unwrap(content, path.name, averaged=averaged)
    tensors = {key: value.detach() for key, value in found.tensors.items()}
    _check_plain(tensors, path.name)
    return Weights(
        tensors, "torch", {}, found.container, found.averaged, found.left_out
    )


def map_tensors(path: Path, header: Header) -> dict[str, Tensor]:
    """Map the tensors of a safetensors file whose header was read and checked.

    Raises
    ------
    CheckpointError
        The file changed meanwhile, or the system refuses.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            found = {key: file.get_tensor(key) for key in header.tensors}
    except (SafetensorError, OSError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}.") from error
    if any(
        tuple(tensor.shape) != header.tensors[key].shape
        for key, tensor in found.items()
    ):
        raise CheckpointError(f"{path.name} changed while it was read: load it again.")
    return found


def _check_plain(tensors: Mapping[str, Any], name: str) -> None:
    """Refuse tensors that are no rows of numbers, or more numbers than are stored."""
    import torch

    for key, tensor in tensors.items():
        plain = (
            type(tensor) is torch.Tensor
            and tensor.layout == torch.strided
            and not tensor.is_meta
            and not tensor.is_quantized
            and not tensor.is_complex()
        )
        if not plain:
            raise CheckpointError(
                f"{name} cannot be used: {quoted(key)} is no plain tensor."
            )
    hollow = [
        quoted(key)
        for key, tensor in tensors.items()
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    ]
    if hollow:
        raise CheckpointError(
            f"{name} is refused: {listed(hollow, ', ')} claims more values than the "
            "file has."
        )
