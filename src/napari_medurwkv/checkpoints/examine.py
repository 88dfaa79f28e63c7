"""Everything that can be said of a checkpoint file without reading its tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from napari_medurwkv.checkpoints.answers import Answers, assumed_card, questions
from napari_medurwkv.checkpoints.container import Header, read_header, sniff
from napari_medurwkv.checkpoints.digest import file_digest
from napari_medurwkv.checkpoints.files import CARD_KEY, card_of
from napari_medurwkv.checkpoints.public import known_file
from napari_medurwkv.checkpoints.sidecar import read_sidecar
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.checkpoints.answers import Question
    from napari_medurwkv.checkpoints.card import ModelCard
    from napari_medurwkv.checkpoints.identify import Identity
    from napari_medurwkv.checkpoints.weights import Weights

__all__ = [
    "Examination",
    "described",
    "examine",
    "look_into",
    "own_header",
    "require_card",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What a file is, who says so, and what nobody says.

    Attributes
    ----------
    path : Path
    size_bytes : int
    format : {"safetensors", "torch"}
    identity : Identity
        Told by keys and shapes.
    card : ModelCard or None
        None for encoders and classifiers, which give no mask.
    card_from : {"file", "sidecar", "known file", "assumed", ""}
    container : str
        Names of the dictionaries around the tensors.
    averaged : bool or None
        Whether moving averages were taken; None where the file has only one kind.
    left_out : tuple of str
        What lay beside the tensors.
    tensors, parameters : int
        How many tensors and values the file holds.
    open_questions : tuple of Question
        With the defaults that were taken; none where a card answers them.
    """

    path: Path
    size_bytes: int
    format: str
    identity: Identity
    card: ModelCard | None
    card_from: str
    container: str
    averaged: bool | None
    left_out: tuple[str, ...]
    tensors: int
    parameters: int
    open_questions: tuple[Question, ...]

    @property
    def sha256(self) -> str:
        """Of the file, hexadecimal; computed on demand."""
        return file_digest(self.path)


def own_header(path: Path) -> Header | None:
    """Return the header of a file with a card of ours inside; None for any other.

    Raises
    ------
    CheckpointError
        The file is no sound checkpoint.
    """
    if sniff(path) != "safetensors":
        return None
    header = read_header(path)
    return header if CARD_KEY in header.metadata else None


def described(path: Path) -> ModelCard | None:
    """Return the card inside a file or beside it; imports no torch.

    Raises
    ------
    CheckpointError
        The file is no sound checkpoint, or its card is not valid.
    """
    header = own_header(path)
    if header is not None:
        return card_of(header, path.name)
    beside = read_sidecar(path)
    return None if beside is None else beside.card


def examine(
    path: Path, answers: Answers | None = None, *, tensors_only: bool = False
) -> Examination:
    """Find out what a checkpoint file is.

    Parameters
    ----------
    path : Path
        Of the file.
    answers : Answers, optional
        To the questions that no file answers; a sidecar is then not asked.
    tensors_only : bool
        Accept a torch file that names program parts: nothing of them is run, and only
        tensors are taken.

    Raises
    ------
    CheckpointError
        It is no sound checkpoint, of no family that is known, or its card is not
        valid.
    """
    return look_into(path, answers, tensors_only=tensors_only)[0]


def look_into(
    path: Path, answers: Answers | None = None, *, tensors_only: bool = False
) -> tuple[Examination, Weights]:
    """Do what `examine` says, and return the mapped tensors too."""
    from napari_medurwkv.checkpoints.fit import network_config
    from napari_medurwkv.checkpoints.identify import identify
    from napari_medurwkv.checkpoints.weights import read_weights

    beside = read_sidecar(path) if answers is None else None
    wanted = answers.averaged if answers else beside.averaged if beside else None
    weights = read_weights(path, averaged=wanted, tensors_only=tensors_only)
    shapes = {key: tuple(value.shape) for key, value in weights.tensors.items()}
    identity = identify(shapes, path.name)
    card, card_from = _card(path, weights, identity, answers)
    if card_from == "assumed" or card is None:
        left = tuple(questions(identity, averaged=weights.averaged))
        if answers is not None:
            left = tuple(q for q in left if getattr(answers, q.name) is None)
    else:
        left = ()
    if card is not None:
        network_config(card, path.name)  # refuses what contradicts itself
        identity = replace(identity, config=card.config)
    found = Examination(
        path=path,
        size_bytes=path.stat().st_size,
        format=weights.format,
        identity=identity,
        card=card,
        card_from=card_from,
        container=weights.container,
        averaged=weights.averaged,
        left_out=weights.left_out,
        tensors=len(shapes),
        parameters=sum(map(prod, shapes.values())),
        open_questions=left,
    )
    return found, weights


def _card(
    path: Path, weights: Weights, identity: Identity, answers: Answers | None
) -> tuple[ModelCard | None, str]:
    if CARD_KEY in weights.metadata and answers is not None:
        raise CheckpointError(
            f"{path.name} has a model card that answers these questions: change what "
            "it says with 'medurwkv convert --card'."
        )
    if CARD_KEY in weights.metadata:
        return card_of(Header(weights.metadata, {}), path.name), "file"
    if answers is None:
        beside = read_sidecar(path)
        if beside is not None:
            return beside.card, "sidecar"
    if identity.task not in ("segmentation", "restoration"):
        return None, ""
    known = known_file(path)
    if known is not None and answers is None:
        return assumed_card(identity, path, **known.card_fields()), "known file"
    return assumed_card(identity, path, answers), "assumed"


def require_card(examination: Examination) -> ModelCard:
    """Return the card, or say why there is none.

    Raises
    ------
    CheckpointError
        The file is of an encoder or classifier.
    """
    if examination.card is None:
        assumed_card(examination.identity, examination.path)  # says why
        raise CheckpointError(f"{examination.path.name} gives no mask.")
    return examination.card
