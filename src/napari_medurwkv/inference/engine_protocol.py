"""What the engine process and its client say to each other: one JSON object a line."""

from __future__ import annotations

import json
import traceback
from typing import IO, Any

from napari_medurwkv import errors
from napari_medurwkv.errors import MedurwkvError

__all__ = [
    "EngineBusyError",
    "EngineError",
    "Message",
    "decode_error",
    "decode_region",
    "encode_error",
    "encode_region",
    "read_message",
    "write_message",
]

Message = dict[str, Any]
Region = tuple[slice, ...]


class EngineError(MedurwkvError):
    """The engine process failed for a reason that nobody foresaw.

    Attributes
    ----------
    details : str
        Traceback of the child process, or the last lines it wrote; may be empty.
    """

    def __init__(self, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.details = details


class EngineBusyError(EngineError):
    """The engine does one thing at a time; later it can be asked again."""


def write_message(stream: IO[str], message: Message) -> None:
    """Write one message and flush it."""
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def read_message(line: str) -> Message:
    """Read back what `write_message` wrote."""
    message: Message = json.loads(line)
    return message


def encode_region(region: Region, shape: tuple[int, ...]) -> list[list[int]]:
    """Give the start and stop of every axis."""
    return [list(s.indices(n)[:2]) for s, n in zip(region, shape, strict=True)]


def decode_region(bounds: list[list[int]]) -> Region:
    """Read back what `encode_region` wrote."""
    return tuple(slice(start, stop) for start, stop in bounds)


def encode_error(error: BaseException) -> Message:
    """Describe an error: the names of its classes, its sentence, its traceback."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, MedurwkvError):
        sentence = str(error)
    elif isinstance(error, MemoryError):
        sentence = (
            "There was not enough memory to segment this image; close other programs "
            "or crop the image."
        )
    else:
        reason = str(error).strip().partition("\n")[0]
        what = type(error).__name__ + (f": {reason}" if reason else "")
        sentence = f"The segmentation failed unexpectedly ({what})."
    return {
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "sentence": sentence,
        "details": details,
    }


def decode_error(message: Message) -> MedurwkvError:
    """Build the error that `encode_error` described.

    The nearest class of `napari_medurwkv.errors` is taken; anything that is not a
    `MedurwkvError` becomes an `EngineError`.
    """
    sentence, details = message["sentence"], message["details"]
    for name in message["kinds"]:
        kind = getattr(errors, name, None) if name in errors.__all__ else None
        if kind is not None:
            error: MedurwkvError = kind(sentence)
            return error
    return EngineError(sentence, details)
