"""The answers beside a file that has no room for them: ``<name>.medurwkv.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_medurwkv.checkpoints.card import ModelCard
from napari_medurwkv.checkpoints.problems import describe_problems
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Sidecar", "read_answers", "read_sidecar", "sidecar_path", "write_sidecar"]

_ENDING = ".medurwkv.json"
_LARGEST = 10_000_000


class Sidecar(BaseModel):
    """A card for a file beside it, and which of the file's weights it means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    card: ModelCard
    averaged: bool | None = None


def sidecar_path(checkpoint: Path) -> Path:
    """Return where the sidecar of a checkpoint lies, whether it is there or not."""
    return checkpoint.with_name(checkpoint.name + _ENDING)


def _candidates(checkpoint: Path) -> tuple[Path, ...]:
    return sidecar_path(checkpoint), checkpoint.with_name(checkpoint.stem + _ENDING)


def read_sidecar(checkpoint: Path) -> Sidecar | None:
    """Read the sidecar of a checkpoint.

    ``net.pth.medurwkv.json`` comes before ``net.medurwkv.json``.

    Raises
    ------
    CheckpointError
        It is there and not valid.
    """
    for path in _candidates(checkpoint):
        if path.is_file():
            return read_answers(path)
    return None


def read_answers(path: Path) -> Sidecar:
    """Read a file that holds a sidecar, or a card alone.

    Raises
    ------
    CheckpointError
        It cannot be read or is not valid.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(f"{path.name} is too large for a card.")
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise CheckpointError(f"{path.name} cannot be read: {reason}.") from error
    try:
        if '"card"' in text.partition(":")[0]:
            return Sidecar.model_validate_json(text)
        return Sidecar(card=ModelCard.model_validate_json(text))
    except ValidationError as error:
        raise CheckpointError(
            f"The card in {path.name} is not valid: {describe_problems(error)}."
        ) from error


def write_sidecar(checkpoint: Path, sidecar: Sidecar) -> Path:
    """Write the answers beside a checkpoint; an older sidecar is replaced.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    from napari_medurwkv.io.safe_write import write_text_safely

    path = sidecar_path(checkpoint)
    write_text_safely(path, sidecar.model_dump_json(indent=2) + "\n", overwrite=True)
    return path
