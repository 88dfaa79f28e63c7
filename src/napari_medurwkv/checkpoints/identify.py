"""What a state dict is of, told by its keys and shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.families import FAMILIES, FOREIGN
from napari_medurwkv.checkpoints.readings import Reading, Shapes
from napari_medurwkv.checkpoints.unwrap import strip_prefixes
from napari_medurwkv.checkpoints.wording import listed, quoted
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Identity", "identify"]

# What wraps, counts or trains a network, and is nothing that it computes with.
_NEVER_NEEDED = ("num_batches_tracked",)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a state dict is of.

    Attributes
    ----------
    family : str
        In words, such as "Vision-RWKV classifier".
    architecture : str
        A name that `models.create_model` knows, of the nearest published size.
    config : dict
        Every value of the network's configuration.
    task : {"segmentation", "restoration", "classification", "features"}
        What comes out of it.
    outputs : int
        Channels of its output; for features, their width.
    size : str
        The published size that it has in all that shapes tell, or "custom".
    certain : bool
        Whether it has a published size; another one is told by its shapes alone.
    guessed : dict of str to str
        What no file of the family tells, and what is taken for it.
    keys : dict of str to str
        Key of the network by key of the file.
    dropped : tuple of str
        Keys of the file that the network has no use for.
    stripped : tuple of str
        Prefixes that were taken off the file's keys.
    """

    family: str
    architecture: str
    config: Mapping[str, Any]
    task: str
    outputs: int
    size: str
    certain: bool
    guessed: Mapping[str, str]
    keys: Mapping[str, str]
    dropped: tuple[str, ...]
    stripped: tuple[str, ...]

    @property
    def title(self) -> str:
        """Family and size."""
        return f"{self.family}, {self.size}"


def identify(shapes: Mapping[str, tuple[int, ...]], name: str) -> Identity:
    """Find out what a state dict is of.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of each tensor, by its key in the file.
    name : str
        Of the file, for messages.

    Raises
    ------
    CheckpointError
        It is of no family that is known, of one that is known and not supported, or
        the shapes contradict each other.
    """
    for encoder in (False, True):
        renamed, stripped = strip_prefixes(shapes, encoder=encoder)
        short = {renamed[key]: shape for key, shape in shapes.items()}
        for family in FAMILIES:
            if family.matches(short):
                return _read(family.read(Shapes(short, name)), renamed, stripped, short)
        for pattern, title in FOREIGN:
            if all(any(key.startswith(part) for key in short) for part in pattern):
                raise CheckpointError(
                    f"{name} is of {title}, which is known but not supported: no "
                    "weights of it are published."
                )
    if not shapes:
        raise CheckpointError(f"{name} holds no tensors: save the network's weights.")
    raise CheckpointError(
        f"{name} is of no known family of RWKV vision networks: its tensors are "
        f"{listed([quoted(key) for key in shapes], ', ', 4)}."
    )


def _read(
    reading: Reading,
    renamed: Mapping[str, str],
    stripped: Iterable[str],
    short: Mapping[str, tuple[int, ...]],
) -> Identity:
    keys, dropped = {}, []
    for key, brief in renamed.items():
        unneeded = brief.endswith(_NEVER_NEEDED) or reading.drops(brief)
        if unneeded:
            dropped.append(key)
        else:
            keys[key] = reading.place(brief)
    return Identity(
        family=reading.family,
        architecture=reading.architecture,
        config=reading.config,
        task=reading.task,
        outputs=reading.outputs,
        size=reading.size,
        certain=reading.size != "custom",
        guessed=reading.guessed,
        keys=keys,
        dropped=tuple(dropped),
        stripped=tuple(stripped),
    )
