"""Write checkpoints, and read the card back without torch."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from napari_medurwkv.checkpoints.card import ModelCard
from napari_medurwkv.checkpoints.container import LENGTH_BYTES, Header, read_header
from napari_medurwkv.checkpoints.problems import describe_problems
from napari_medurwkv.checkpoints.wording import listed
from napari_medurwkv.errors import CheckpointError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

__all__ = [
    "CARD_KEY",
    "SUFFIX",
    "card_of",
    "read_card",
    "save_checkpoint",
    "save_tensors",
]

SUFFIX = ".safetensors"
CARD_KEY = "medurwkv.card"
_FORMAT = 1


def read_card(path: Path) -> ModelCard:
    """Read the card in a checkpoint's header; imports no torch, reads no tensors.

    Parameters
    ----------
    path : Path
        A .safetensors file.

    Raises
    ------
    CheckpointError
        The file is no sound safetensors file, has no card or a card that is not valid.
    """
    return card_of(read_header(path), path.name)


def card_of(header: Header, name: str) -> ModelCard:
    """Validate the card in a header.

    Raises
    ------
    CheckpointError
        There is none, it is not valid, or a newer version of the package wrote it.
    """
    text = header.metadata.get(CARD_KEY)
    if text is None:
        raise CheckpointError(
            f"{name} has no model card: it holds weights that this plugin did not save."
        )
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        version = _claimed_format(text)
        if isinstance(version, int) and version > _FORMAT:
            raise CheckpointError(
                f"The card of {name} has format {version}, which is newer than this "
                "version of napari-medurwkv reads: update it."
            ) from error
        raise CheckpointError(
            f"The card of {name} is not valid: {describe_problems(error)}."
        ) from error


def _claimed_format(text: str) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        fields = json.loads(text)
        if isinstance(fields, dict):
            return fields.get("format")
    return None


def save_checkpoint(
    path: Path,
    network: nn.Module,
    card: ModelCard,
    *,
    dtype: Literal["float16", "float32"] = "float16",
) -> Path:
    """Write a network and its card as one .safetensors file.

    The card that is written holds every value of the network's configuration, so that
    the file stays readable when defaults change. The same network and card give the
    same bytes.

    Parameters
    ----------
    path : Path
        Ends in .safetensors. A file that is there is replaced once the new one is
        complete, has been read back and is equal.
    network : torch.nn.Module
        What `create_model` made from the card's architecture and configuration.
    card : ModelCard
        Describes it.
    dtype : {"float16", "float32"}
        How floating-point tensors are stored; integers are kept.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    CheckpointError
        Network and card contradict each other, or a tensor is not finite in `dtype`.
    OutputError
        The file cannot be written.
    """
    import torch
    from safetensors.torch import save

    from napari_medurwkv.checkpoints.fit import (
        build_network,
        check_tensors,
        network_config,
        tensor_infos,
    )

    if path.suffix != SUFFIX:
        raise CheckpointError(
            f"{path.name} is not written: the name of a checkpoint ends in {SUFFIX}."
        )
    config = network_config(card, path.name)
    if getattr(network, "config", None) != config:
        raise CheckpointError(
            f"{path.name} is not written: its card describes another network, {config}."
        )
    state = network.state_dict()
    blank = build_network(config, path.name)
    check_tensors(
        tensor_infos(blank.state_dict()),
        tensor_infos(state),
        path.name,
        card.architecture,
    )
    text = card.model_copy(update={"config": config.to_dict()}).model_dump_json()
    card_of(Header({CARD_KEY: text}, {}), path.name)
    tensors = _stored(state, getattr(torch, dtype), path.name)
    write_bytes(path, _canonical(save(tensors, {"format": "pt", CARD_KEY: text})))
    return path


def save_tensors(
    path: Path, state: Mapping[str, Tensor], *, dtype: Literal["float16", "float32"]
) -> Path:
    """Write tensors without a card, such as those of an encoder.

    Raises
    ------
    CheckpointError
        The name does not end in .safetensors, or a tensor is not finite in `dtype`.
    OutputError
        The file cannot be written.
    """
    import torch
    from safetensors.torch import save

    if path.suffix != SUFFIX:
        raise CheckpointError(
            f"{path.name} is not written: the name of a checkpoint ends in {SUFFIX}."
        )
    tensors = _stored(state, getattr(torch, dtype), path.name)
    write_bytes(path, _canonical(save(tensors, {"format": "pt"})))
    return path


def _stored(state: Mapping[str, Tensor], dtype: Any, name: str) -> dict[str, Tensor]:
    """Copy the tensors to the CPU in the type that they are stored in."""
    from napari_medurwkv.checkpoints.fit import not_finite

    tensors = {
        key: tensor.detach()
        .to("cpu", dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
        .contiguous()
        for key, tensor in state.items()
    }
    spoilt = not_finite(tensors)
    if spoilt:
        raise CheckpointError(
            f"{name} is not written: NaN or infinity would stand, as "
            f"{str(dtype).removeprefix('torch.')}, in {listed(spoilt, ', ')}."
        )
    return tensors


def _canonical(data: bytes) -> bytes:
    """Sort the metadata, which the library writes in a random order."""
    stop = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    fields = json.loads(data[LENGTH_BYTES:stop])
    fields["__metadata__"] = dict(sorted(fields["__metadata__"].items()))
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors begin at a multiple of eight, as the library aligns them.
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + data[stop:]


def with_card(data: bytes, card: ModelCard) -> bytes:
    """Put a card into the header of a file's bytes, in place of the one there.

    Parameters
    ----------
    data : bytes
        A whole safetensors file.
    card : ModelCard
        The new card.
    """
    stop = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    fields = json.loads(data[LENGTH_BYTES:stop])
    fields.setdefault("__metadata__", {"format": "pt"})[CARD_KEY] = (
        card.model_dump_json()
    )
    text = json.dumps(fields).encode()
    return _canonical(len(text).to_bytes(LENGTH_BYTES, "little") + text + data[stop:])


def write_bytes(path: Path, data: bytes) -> None:
    """Write a checkpoint beside the old one, compare, and only then replace it.

    Raises
    ------
    OutputError
        The file cannot be written.
    """

    def write(part: Path) -> None:
        part.write_bytes(data)

    def check(part: Path) -> None:
        if part.read_bytes() != data:
            raise OutputError(f"{path} did not come back from the disk as written.")

    # Here, because reading checkpoints has no use for the image formats.
    from napari_medurwkv.io.safe_write import write_safely

    write_safely(path, write, check, overwrite=True)
