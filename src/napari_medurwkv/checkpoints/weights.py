"""The tensors of any checkpoint file, mapped from the disk, and what was around."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.archive import open_archive
from napari_medurwkv.checkpoints.container import read_header, sniff, torch_name
from napari_medurwkv.checkpoints.unwrap import unwrap
from napari_medurwkv.checkpoints.wording import listed, quoted
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from napari_medurwkv.checkpoints.container import Header

__all__ = ["Run", "Weights", "map_runs", "map_tensors", "read_weights"]


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


@dataclass(frozen=True, slots=True)
class Run:
    """Tensors of one type that lie one after another.

    What is done to every value, such as a change of type, is done to a run at once:
    on hundreds of tensors it takes several times longer.

    Attributes
    ----------
    values : Tensor
        All of their values, in one row.
    shapes : mapping of str to tuple of int
        Of each tensor, in the order of the values.
    """

    values: Tensor
    shapes: Mapping[str, tuple[int, ...]]

    def tensors(self) -> dict[str, Tensor]:
        """Cut the row into its tensors; nothing is copied."""
        storage, size = self.values.untyped_storage(), self.values.element_size()
        found: dict[str, Tensor] = {}
        start = 0
        for key, shape in self.shapes.items():
            stop = start + prod(shape) * size
            # Without strides the tensor is contiguous; torch's stubs ask for them.
            found[key] = self.values.new_empty(0).set_(  # type: ignore[call-overload]
                storage[start:stop], 0, shape
            )
            start = stop
        return found


def map_runs(path: Path, header: Header) -> list[Run]:
    """Map the tensors of a safetensors file whose header was read and checked.

    Nothing is read yet. Changing a value changes only the copy in memory.

    Raises
    ------
    CheckpointError
        The file changed meanwhile, or the system refuses.
    """
    import torch

    try:
        size = path.stat().st_size
        mapped = torch.UntypedStorage.from_file(str(path), False, size)
    except (OSError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}.") from error
    if size != header.stop:
        raise CheckpointError(f"{path.name} changed while it was read: load it again.")
    in_order = sorted(header.tensors.items(), key=lambda t: (t[1].start, t[1].stop))
    runs = []
    for name, group in groupby(in_order, key=lambda t: t[1].dtype):
        members = dict(group)
        dtype = getattr(torch, torch_name(name))
        infos = list(members.values())
        start, stop = header.start + infos[0].start, header.start + infos[-1].stop
        piece = mapped[start:stop]
        if start % dtype.itemsize:  # A header of odd length: values lie askew.
            piece = piece.clone()
        values = torch.empty(0, dtype=dtype).set_(piece)
        runs.append(Run(values, {key: info.shape for key, info in members.items()}))
    return runs


def map_tensors(path: Path, header: Header) -> dict[str, Tensor]:
    """Map the tensors of a safetensors file, one by one and in its order of names.

    Raises
    ------
    CheckpointError
        As `map_runs`.
    """
    found: dict[str, Tensor] = {}
    for run in map_runs(path, header):
        found |= run.tensors()
    return {key: found[key] for key in header.tensors}


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
