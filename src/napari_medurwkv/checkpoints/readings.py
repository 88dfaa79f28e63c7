"""What the readers of all families share: shapes, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.wording import quoted
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Reading", "Shapes", "finished", "ratio"]

_LARGEST = 4096
_MOST_PARTS = 512


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shapes by key, with a sentence for whatever is asked for and is not there."""

    found: Mapping[str, tuple[int, ...]]
    name: str
    before: str = ""  # what was taken off the keys, for messages

    def __contains__(self, key: str) -> bool:
        return key in self.found

    def get(self, key: str, dimensions: int) -> tuple[int, ...]:
        """Return the shape of a tensor that must have so many dimensions."""
        shape = self.found.get(key)
        if shape is None:
            raise CheckpointError(f"{self._blame(key)} is missing.")
        if len(shape) != dimensions or not all(0 < side for side in shape):
            raise CheckpointError(
                f"{self._blame(key)} has shape {shape} where "
                f"{dimensions} dimensions belong."
            )
        if max(shape) > _LARGEST * _LARGEST or shape[0] > 4 * _LARGEST:
            raise CheckpointError(
                f"{self._blame(key)} has shape {shape}, larger "
                "than any network of its family."
            )
        return shape

    def _blame(self, key: str) -> str:
        return f"{self.name} cannot be used: {quoted(self.before + key)}"

    def count(self, before: str) -> int:
        """Count the parts that are numbered behind a beginning, such as "layers.".

        All of their keys count, so that one that is missing makes no part disappear and
        one too many makes none appear: a part has a third of the largest one's keys.

        Raises
        ------
        CheckpointError
            There are more than any network has.
        """
        parts: dict[str, int] = {}
        for key in self.found:
            if key.startswith(before):
                number = key[len(before) :].partition(".")[0]
                parts[number] = parts.get(number, 0) + 1
        most = max(parts.values(), default=0)
        count = sum(
            number.isdecimal() and 3 * keys >= most for number, keys in parts.items()
        )
        if count > _MOST_PARTS:
            raise CheckpointError(
                f"{self.name} cannot be used: it has {count} parts "
                f"{quoted(self.before + before)}, more than any network of its family."
            )
        return count

    def number_with(self, before: str, *parts: str) -> int:
        """Count the keys behind a beginning that have any of some parts."""
        return sum(
            key.startswith(before) and any(part in key for part in parts)
            for key in self.found
        )

    def most_agree(self, *lengths: tuple[str, int, int]) -> None:
        """Name the tensor whose length differs from that of most others.

        Parameters
        ----------
        *lengths : tuple of (str, int, int)
            Key, number of dimensions, and the axis whose lengths have to be equal.

        Raises
        ------
        CheckpointError
            One has another length than two or more that agree.
        """
        found = [(key, self.get(key, n), axis) for key, n, axis in lengths]
        sides = [shape[axis] for _, shape, axis in found]
        usual = max(sides, key=sides.count, default=0)
        for (key, shape, _), side in zip(found, sides, strict=True):
            if side != usual and sides.count(usual) > 1:
                raise CheckpointError(
                    f"{self._blame(key)} has shape {shape}, "
                    f"which does not fit the others: {usual} belongs where {side} is."
                )

    def has(self, prefix: str) -> bool:
        """Whether any key begins so."""
        return any(key.startswith(prefix) for key in self.found)


def _kept(key: str) -> str:
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a family's reader found; the meanings are those of `Identity`."""

    family: str
    architecture: str
    config: Mapping[str, Any]
    task: str
    outputs: int
    size: str
    guessed: Mapping[str, str] = field(default_factory=dict)
    place: Callable[[str], str] = _kept
    drops: Callable[[str], bool] = lambda key: False


def finished(
    base: str, sizes: Mapping[str, str], values: dict[str, Any], hint: str, name: str
) -> tuple[str, dict[str, Any], str]:
    """Complete the values of the nearest published size; say which size it is.

    Parameters
    ----------
    base : str
        Name of the network without its size.
    sizes : mapping of str to str
        Published size by what it is told by.
    values : dict
        What the shapes told.
    hint : str
        What this network's size is told by.
    name : str
        Of the file.
    """
    from napari_medurwkv.models import ModelError, list_models, model_config

    size = sizes.get(hint, "")
    nearest = size or next(iter(sizes.values()))
    architecture = base if base in list_models() else f"{base}_{nearest}"
    published = model_config(architecture).to_dict()
    try:
        config = model_config(architecture, **values).to_dict()
    except ModelError as error:
        raise CheckpointError(f"{name} cannot be used: {error}") from error
    # What users choose, and what only starts a training.
    free = {
        "num_classes",
        "num_labels",
        "segments",
        "in_channels",
        "layer_scale",
        "img_size",
        "auxiliary_dim",
        "full_layout",
        "out_indices",
    }
    same = all(config[key] == published[key] for key in config if key not in free)
    scaled = (config.get("layer_scale") is None) == (
        published.get("layer_scale") is None
    )
    if not (size and same and scaled):
        return architecture, config, "custom"
    return architecture, config, nearest


def ratio(part: int, whole: int) -> float:
    """Return the factor that, times the whole and cut to an integer, is the part."""
    factor = part / whole
    return factor if int(whole * factor) == part else factor + 1e-9
