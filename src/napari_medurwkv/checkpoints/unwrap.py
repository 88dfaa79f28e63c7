"""From whatever a training program saved to one flat state dict."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medurwkv.checkpoints.wording import listed, quoted
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

__all__ = ["Unwrapped", "strip_prefixes", "unwrap"]

_RAW = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "params",
)
_AVERAGED = ("ema", "model_ema", "state_dict_ema", "ema_state_dict")
_PREFIXES = (
    "module.",
    "_orig_mod.",
    "_model.",
    "model.",
    "net.",
    "network.",
    "backbone.",
    "student.",
)
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A state dict and the way to it.

    Attributes
    ----------
    tensors : dict of str to Tensor
        In the order of the file.
    container : str
        Names of the dictionaries around it, such as "state_dict"; "" for none.
    averaged : bool or None
        Whether these are moving averages (EMA); None where the file has only one kind.
    left_out : tuple of str
        What lay beside the tensors.
    """

    tensors: dict[str, Tensor]
    container: str
    averaged: bool | None
    left_out: tuple[str, ...]


def unwrap(content: Any, name: str, *, averaged: bool | None = None) -> Unwrapped:
    """Find the state dict in what a file held.

    Parameters
    ----------
    content : object
        What the file held.
    name : str
        Of the file, for messages.
    averaged : bool, optional
        Which weights to take where a file has both; the moving averages by default.

    Raises
    ------
    CheckpointError
        There is no state dict in it, or averages were asked for and there are none.
    """
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{name} holds a {type(content).__name__} and no weights under names: save "
            "the network's state_dict()."
        )
    raw, mean = _search(content, _RAW), _search(content, _AVERAGED)
    if averaged and mean is None:
        raise CheckpointError(f"{name} has no moving averages: take its raw weights.")
    if averaged is False and raw is None and mean is not None:
        raise CheckpointError(f"{name} has moving averages only: take those.")
    both = raw is not None and mean is not None
    found = mean if mean is not None and averaged is not False else raw
    path, state = found if found is not None else ("", content)
    tensors = {
        key: value
        for key, value in state.items()
        if isinstance(key, str) and _is_tensor(value)
    }
    if not tensors:
        keys = listed([quoted(key) for key in content], ", ", 5)
        held = f"what it holds is {keys}" if keys else "it is empty"
        raise CheckpointError(
            f"{name} holds no weights; {held}: save the network's state_dict()."
        )
    beside = [str(key) for key in state if key not in tensors]
    if state is not content:
        beside += [str(key) for key in content if key != path.partition(".")[0]]
    return Unwrapped(
        tensors, path, (found is mean) if both else None, tuple(beside[:1000])
    )


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _search(
    content: dict[Any, Any], names: Iterable[str], depth: int = 0
) -> tuple[str, dict[Any, Any]] | None:
    """Return the first dictionary of mostly tensors below one of some names."""
    for name in names:
        value = content.get(name)
        if not isinstance(value, dict):
            continue
        if _mostly_tensors(value):
            return name, value
        if depth < _DEEPEST:
            deeper = _search(value, _RAW, depth + 1)
            if deeper is not None:
                return f"{name}.{deeper[0]}", deeper[1]
    return None


def _mostly_tensors(content: dict[Any, Any]) -> bool:
    tensors = sum(map(_is_tensor, content.values()))
    return 2 * tensors > len(content)


def strip_prefixes(
    keys: Iterable[str], *, encoder: bool = False
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Take wrappers' prefixes off, again and again, from the keys that carry them.

    Parameters
    ----------
    keys : iterable of str
        As in the file.
    encoder : bool
        Take ``encoder.`` off too. RWKV-UNet and Med-URWKV have it in their own keys,
        so this is tried last.

    Returns
    -------
    renamed : dict of str to str
        Short key by key of the file.
    stripped : tuple of str
        Prefixes that were taken off.

    Raises
    ------
    CheckpointError
        Two keys become one.
    """
    prefixes = (*_PREFIXES, "encoder.") if encoder else _PREFIXES
    pattern = re.compile("(?:" + "|".join(map(re.escape, prefixes)) + ")+")
    renamed, seen = {}, set()
    for key in keys:
        match = pattern.match(key)
        short = key[match.end() :] if match else key
        if match:
            seen.add(match[0])
        # The name that the masked autoencoder's code gives to the layers.
        renamed[key] = re.sub(r"^blocks\.(?=\d+\.)", "layers.", short)
    doubled = _doubled(renamed)
    if doubled:
        raise CheckpointError(
            f"The keys {' and '.join(map(quoted, doubled))} become one without their "
            "prefixes: the file holds two networks; save one of them alone."
        )
    return renamed, tuple(sorted(seen))


def _doubled(renamed: Mapping[str, str]) -> tuple[str, str] | None:
    first: dict[str, str] = {}
    for key, short in renamed.items():
        if short in first:
            return first[short], key
        first[short] = key
    return None
