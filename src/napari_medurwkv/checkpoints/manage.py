"""The user's own models: add, convert, rename, remove, export."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from napari_medurwkv.checkpoints import lookup
from napari_medurwkv.checkpoints.examine import own_header
from napari_medurwkv.checkpoints.files import (
    SUFFIX,
    card_of,
    save_checkpoint,
    save_tensors,
    with_card,
    write_bytes,
)
from napari_medurwkv.checkpoints.sidecar import (
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from napari_medurwkv.errors import CheckpointError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medurwkv.checkpoints.answers import Answers
    from napari_medurwkv.checkpoints.card import ModelCard
    from napari_medurwkv.checkpoints.lookup import CatalogueEntry

__all__ = ["add", "convert", "export", "remove", "rename"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def convert(
    source: Path,
    target: Path,
    answers: Answers | None = None,
    *,
    card: ModelCard | None = None,
    tensors_only: bool = False,
    dtype: Literal["float16", "float32"] = "float32",
    overwrite: bool = False,
) -> Path:
    """Write any checkpoint as .safetensors, with its card in the header.

    Parameters
    ----------
    source, target : Path
        What is read, and the .safetensors file that is written.
    answers : Answers, optional
        To what the file does not tell.
    card : ModelCard, optional
        In place of the card that the answers make.
    tensors_only : bool
        Accept a torch file that names program parts, and leave them out.
    dtype : {"float32", "float16"}
        How values are stored.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        `target`. An encoder or a classifier is written without a card.

    Raises
    ------
    CheckpointError
        The source is no sound checkpoint, or card and network contradict each other.
    OutputError
        The target is there already, or cannot be written.
    """
    from napari_medurwkv.checkpoints.load import load_network

    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there already: choose another name.")
    loaded = load_network(source, answers, tensors_only=tensors_only, card=card)
    described = loaded.examination.card
    if described is None:
        state = loaded.network.state_dict()
        return save_tensors(target, state, dtype=dtype)
    return save_checkpoint(target, loaded.network, described, dtype=dtype)


def add(
    source: Path,
    answers: Answers | None = None,
    *,
    name: str = "",
    tensors_only: bool = False,
) -> CatalogueEntry:
    """Bring a file into the user's folder, where it is known by its name.

    Parameters
    ----------
    source : Path
        Any checkpoint that gives masks or images. It is left as it is.
    answers : Answers, optional
        To what the file does not tell.
    name : str
        What to call it; the card's name by default.
    tensors_only : bool
        Accept a torch file that names program parts, and leave them out.

    Raises
    ------
    CheckpointError
        It is no sound checkpoint, gives neither mask nor image, or the name is taken
        or not valid.
    OutputError
        The folder cannot be written to.
    """
    from napari_medurwkv.checkpoints.examine import examine, require_card

    header = own_header(source)
    if header is not None and answers is None:
        card = card_of(header, source.name)
    else:
        card = require_card(examine(source, answers, tensors_only=tensors_only))
    card = card.model_copy(update={"name": _free_name(name or card.name)})
    folder = lookup.user_folder()
    _make(folder)
    target = folder / f"{card.name}{SUFFIX}"
    if header is not None and answers is None:
        write_bytes(target, with_card(source.read_bytes(), card))
    else:
        convert(source, target, answers, card=card, tensors_only=tensors_only)
    return lookup.find(target)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made: {error.strerror}."
        ) from error


def _free_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise CheckpointError(
            f"{name!r} is no name for a model: use lower-case letters, digits, dots "
            "and hyphens, and begin with a letter or digit."
        )
    taken = {entry.name for entry in lookup.catalogue()}
    if name in taken or (lookup.user_folder() / f"{name}{SUFFIX}").exists():
        raise CheckpointError(f"There is a model {name!r} already: give another name.")
    return name


def _own(name: str, verb: str, *, fetched: bool = False) -> CatalogueEntry:
    entry = next((e for e in lookup.catalogue() if e.name == name), None)
    if entry is None:
        names = ", ".join(e.name for e in lookup.catalogue()) or "none"
        raise CheckpointError(f"There is no model {name!r}: the models are {names}.")
    folders = [lookup.user_folder()]
    if fetched:
        folders.append(lookup.user_folder() / "public")
    if entry.path.parent not in folders:
        raise CheckpointError(
            f"{name} came with the package or lies elsewhere: it cannot be {verb}; "
            f"models in {lookup.user_folder()} can."
        )
    return entry


def rename(name: str, new_name: str) -> CatalogueEntry:
    """Give a model of the user's folder another name.

    Raises
    ------
    CheckpointError
        There is no such model, it is not the user's, or the new name is taken.
    OutputError
        The folder cannot be written to.
    """
    entry = _own(name, "renamed")
    card = entry.card.model_copy(update={"name": _free_name(new_name)})
    beside = None if own_header(entry.path) else read_sidecar(entry.path)
    target = entry.path.with_name(f"{new_name}{entry.path.suffix}")
    if beside is not None:
        write_sidecar(target, beside.model_copy(update={"card": card}))
        entry.path.rename(target)
        _delete(sidecar_path(entry.path))
    else:
        write_bytes(target, with_card(entry.path.read_bytes(), card))
        _delete(entry.path)
    return lookup.find(target)


def remove(name: str) -> Path:
    """Delete a model of the user's folder or one that was fetched, and its sidecar.

    Returns
    -------
    Path
        Of the file that is gone.

    Raises
    ------
    CheckpointError
        There is no such model, or it is not the user's.
    OutputError
        The file cannot be deleted.
    """
    entry = _own(name, "removed", fetched=True)
    _delete(entry.path)
    _delete(sidecar_path(entry.path))
    return entry.path


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be deleted: {error.strerror}.") from error


def export(name: str, target: Path, *, overwrite: bool = False) -> Path:
    """Write a model as one .safetensors file with its card, to pass on.

    Raises
    ------
    CheckpointError
        There is no such model.
    OutputError
        The target is there already, or cannot be written.
    """
    entry = lookup.find(name)
    if target.is_dir():
        target = target / f"{entry.name}{SUFFIX}"
    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there already: choose another name.")
    if own_header(entry.path) is None:
        return convert(entry.path, target, card=entry.card, overwrite=overwrite)
    write_bytes(target, entry.path.read_bytes())
    return target
