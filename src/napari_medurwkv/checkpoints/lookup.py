"""The models at hand: those in the package and those in the user's folder."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from napari_medurwkv.checkpoints.digest import file_digest
from napari_medurwkv.checkpoints.examine import described, examine, require_card
from napari_medurwkv.checkpoints.files import SUFFIX
from napari_medurwkv.checkpoints.sidecar import sidecar_path
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints.card import ModelCard

__all__ = [
    "CatalogueEntry",
    "catalogue",
    "default_for",
    "find",
    "locate",
    "unusable",
    "user_folder",
]

SUFFIXES = (SUFFIX, ".pth", ".pt", ".ckpt", ".bin")
"""Of the files that are looked at in a folder; what a file is, its bytes tell."""

_DEFAULTS = {2: "nuclei", 3: "brain-tissue"}


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One checkpoint, described without loading it.

    Attributes
    ----------
    name : str
        The card's name.
    path : Path
        Of the file.
    card : ModelCard
        What the header says.
    size_bytes : int
        Of the file.
    embedded : bool
        Whether it came with the package.
    """

    name: str
    path: Path
    card: ModelCard
    size_bytes: int
    embedded: bool

    @property
    def sha256(self) -> str:
        """Of the file, hexadecimal; computed on demand."""
        return file_digest(self.path)


def embedded_folder() -> Path:
    """Folder of the checkpoints that come with the package."""
    return Path(str(resources.files(__package__))) / "embedded"


def user_folder() -> Path:
    """Folder where the user may put further checkpoints; it need not exist."""
    return user_data_path("napari-medurwkv", appauthor=False) / "models"


def catalogue() -> tuple[CatalogueEntry, ...]:
    """List the usable models, those of the package first.

    Only headers are read; torch is not imported. What is in the folders and cannot be
    used is told by `unusable`.
    """
    return _scan()[0]


def unusable() -> tuple[CheckpointError, ...]:
    """Say, for each file in the folders that is no usable checkpoint, why."""
    return _scan()[1]


def _scan() -> tuple[tuple[CatalogueEntry, ...], tuple[CheckpointError, ...]]:
    entries: dict[str, CatalogueEntry] = {}
    problems: list[CheckpointError] = []
    fetched = user_folder() / "public"
    for folder in (embedded_folder(), user_folder(), fetched):
        try:
            paths = _checkpoints_in(folder)
        except CheckpointError as error:
            problems.append(error)
            continue
        for path in paths:
            if folder == fetched and not sidecar_path(path).is_file():
                continue  # an encoder to start from, which segments nothing
            try:
                entry = _listed(path)
            except CheckpointError as error:
                problems.append(error)
                continue
            taken = entries.setdefault(entry.name, entry)
            if taken is not entry:
                problems.append(
                    CheckpointError(
                        f"{path.name} has the name {entry.name!r} of another model, "
                        f"{taken.path.name}: load it by its path, or change its name."
                    )
                )
    return tuple(entries.values()), tuple(problems)


def _checkpoints_in(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise CheckpointError(
            f"The folder {folder} cannot be read: {error.strerror}."
        ) from error
    return [p for p in paths if p.suffix in SUFFIXES and not p.name.startswith(".")]


def _listed(path: Path) -> CatalogueEntry:
    """Describe a file of a folder by its card, inside or beside it; no torch."""
    card = described(path)
    if card is None:
        raise CheckpointError(
            f"{path.name} has no model card: 'medurwkv models add' asks what it is."
        )
    return _entry(path, card)


def _named(path: Path) -> CatalogueEntry:
    """Describe a file that somebody named; one without a card is looked into."""
    card = described(path)
    return _entry(path, require_card(examine(path)) if card is None else card)


def _entry(path: Path, card: ModelCard) -> CatalogueEntry:
    embedded = path.parent == embedded_folder()
    return CatalogueEntry(card.name, path, card, path.stat().st_size, embedded)


def find(name_or_path: str | Path) -> CatalogueEntry:
    """Return the model of a name, or the checkpoint in a file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `catalogue`. Everything else is taken for a path if it is a `Path`,
        has a folder or a suffix in it, or exists.

    Raises
    ------
    CheckpointError
        There is no such model, and then the sentence lists those that exist; or the
        file is no usable checkpoint.
    """
    if isinstance(name_or_path, str):
        entries, problems = _scan()
        for entry in entries:
            if entry.name == name_or_path:
                return entry
        if not _is_path(name_or_path):
            names = ", ".join(entry.name for entry in entries) or "none"
            reasons = "".join(f" {problem}" for problem in problems)
            raise CheckpointError(
                f"There is no model {name_or_path!r}: the models here are {names}; "
                f"for a file give its path.{reasons}"
            )
    return _named(Path(name_or_path).expanduser())


def locate(name_or_path: str | Path) -> Path:
    """Return the file of a name or path, as `find` does, without looking inside.

    Raises
    ------
    CheckpointError
        There is no model of that name.
    """
    if isinstance(name_or_path, Path) or _is_path(name_or_path):
        named = not isinstance(name_or_path, Path) and next(
            (entry.path for entry in catalogue() if entry.name == name_or_path), None
        )
        return named or Path(name_or_path).expanduser()
    return find(name_or_path).path


def _is_path(text: str) -> bool:
    path = Path(text)
    return len(path.parts) > 1 or bool(path.suffix) or path.exists()


def default_for(ndim: int, rgb: bool) -> CatalogueEntry:
    """Return the model that is offered first for an image.

    Parameters
    ----------
    ndim : {2, 3}
        Spatial dimensions of the image.
    rgb : bool
        Whether it is in colour.

    Raises
    ------
    CheckpointError
        No model that comes with the package is made for such images.
    """
    if ndim not in _DEFAULTS or (ndim == 3 and rgb):
        kind = f"{ndim}D {'colour' if rgb else 'grey'} images"
        raise CheckpointError(
            f"No model that comes with the package is made for {kind}: choose one."
        )
    return find(_DEFAULTS[ndim])
