"""The public checkpoints: what there is, where it lies, under which licence."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PublicCheckpoint", "known_file", "public_checkpoint", "public_checkpoints"]

# How far a size given in rounded megabytes may lie from the truth.
_ROUNDING = 0.02


class PublicCheckpoint(BaseModel):
    """One entry of the package's list, ``public.json``.

    Attributes
    ----------
    name, title, description : str
        Short identifier, heading, and what it does.
    architecture : str
        A name that `models.create_model` knows.
    task : {"segmentation", "classification", "features"}
    repository, revision, file : str
        On the hub; "" where it lies elsewhere.
    size_bytes : int
        As published, rounded; 0: not known.
    sha256 : str
        "": not known.
    licence : str
        SPDX identifier, or in words.
    redistributable : bool
        Whether the licence lets everybody pass the file on.
    page : str
        Where a person finds it, if it is not on the hub.
    authors, citation
        As in a card.
    card : dict
        Fields of its card that are known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    description: str
    architecture: str
    task: Literal["segmentation", "restoration", "classification", "features"]
    repository: str
    revision: str
    file: str
    size_bytes: int
    sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")
    licence: str
    redistributable: bool
    page: str = ""
    authors: tuple[str, ...]
    citation: str
    card: dict[str, JsonValue]

    @property
    def fetchable(self) -> bool:
        """Whether it can be downloaded by a program."""
        return bool(self.repository)

    @property
    def address(self) -> str:
        """Where a person can look at it."""
        return self.page or f"https://huggingface.co/{self.repository}"

    def card_fields(self) -> dict[str, Any]:
        """Return the fields of a `ModelCard` that are known."""
        return {
            "name": self.name,
            "title": self.title,
            "version": self.revision or "unknown",
            "description": self.description,
            "authors": self.authors,
            "licence": self.licence,
            "citation": self.citation,
            **self.card,
        }


@cache
def public_checkpoints() -> tuple[PublicCheckpoint, ...]:
    """List the public checkpoints; reads one file of the package."""
    text = (resources.files(__package__) / "public.json").read_text("utf-8")
    return tuple(
        PublicCheckpoint.model_validate(fields)
        for fields in json.loads(text)["checkpoints"]
    )


def public_checkpoint(name: str) -> PublicCheckpoint:
    """Return the public checkpoint of a name.

    Raises
    ------
    CheckpointError
        There is none.
    """
    for entry in public_checkpoints():
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in public_checkpoints())
    raise CheckpointError(
        f"There is no public checkpoint {name!r}: the names are {names}."
    )


def known_file(path: Path) -> PublicCheckpoint | None:
    """Recognise a public checkpoint by its SHA-256, whatever it is called now."""
    size = path.stat().st_size
    near = [
        entry
        for entry in public_checkpoints()
        if entry.sha256 and abs(size - entry.size_bytes) <= _ROUNDING * entry.size_bytes
    ]
    if not near:
        return None
    from napari_medurwkv.checkpoints.digest import file_digest

    digest = file_digest(path)
    return next((entry for entry in near if entry.sha256 == digest), None)
