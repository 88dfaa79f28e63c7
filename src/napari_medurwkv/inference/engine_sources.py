"""Images that the engine process reads in parts: by itself, or from its client.

What lies in a local zarr store, the engine opens itself. Of anything else it asks its
client for the part that the next windows need; parts cross as .npy files.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import CancelledError, ImageError
from napari_medurwkv.inference.engine_arrays import write_image
from napari_medurwkv.io import LazyArray, chunk_sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medurwkv.inference.engine_protocol import Message

__all__ = ["PartQueue", "describe_levels", "hand_over", "open_levels"]

PATIENCE_S = 3.0
"""A cancelled run waits no longer than this for a part that is still being made."""
_ASK_AGAIN_S = 0.1


def describe_levels(array: LazyArray) -> list[Message]:
    """Say how the engine gets at the levels of an image.

    Parameters
    ----------
    array : LazyArray
        Of the image.
    """
    return [_describe(level) for level in array.levels]


def _describe(level: Any) -> Message:
    store = getattr(level, "store", None)
    root = getattr(store, "root", None) or getattr(store, "path", None)
    path = getattr(level, "path", None)
    if isinstance(root, str | Path) and isinstance(path, str) and Path(root).is_dir():
        return {"zarr": str(Path(root).absolute()), "path": path}
    sizes = chunk_sizes(level)
    return {
        "shape": [int(n) for n in level.shape],
        "dtype": np.dtype(level.dtype).str,
        "chunks": None if sizes is None else list(sizes),
    }


def hand_over(array: LazyArray, asked: Message, folder: Path) -> Message:
    """Write the part that the engine asked for.

    Parameters
    ----------
    array : LazyArray
        The image.
    asked : Message
        With the number of the question, the level and the bounds of every axis.
    folder : Path
        Where to write.

    Returns
    -------
    Message
        The answer.

    Raises
    ------
    ImageError
        If the part cannot be read.
    """
    number = asked["number"]
    level = array.levels[asked["level"]]
    try:
        part = np.asarray(level[tuple(slice(*bounds) for bounds in asked["bounds"])])
    except MemoryError as error:
        raise ImageError(
            "A part of the image does not fit into memory: store it in smaller pieces."
        ) from error
    except Exception as error:  # a lazy image may do anything to get its values
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ImageError(f"A part of the image cannot be read: {reason}.") from error
    path = folder / f"part-{asked['id']}-{number}.npy"
    write_image(path, part, lambda: False)
    return {"do": "part", "id": asked["id"], "number": number, "path": str(path)}


class PartQueue:
    """The engine's side: asks for parts and waits for them, from any thread.

    Parameters
    ----------
    say : callable
        Sends a message to the client.
    """

    def __init__(self, say: Callable[[Message], None]) -> None:
        self._say = say
        self._parts: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._numbers = itertools.count()

    def put(self, message: Message) -> None:
        """Take the client's answer."""
        self._parts.put(message)

    def get(
        self,
        run: int,
        level: int,
        bounds: list[tuple[int, int]],
        cancelled: Callable[[], bool],
    ) -> NDArray[Any]:
        """Ask for a part and wait for it.

        Parameters
        ----------
        run : int
            Number of the request that is being worked on.
        level : int
            Of the pyramid.
        bounds : list of (int, int)
            First and end point per axis.
        cancelled : callable
            Whether the run has been cancelled.

        Raises
        ------
        CancelledError
            If it was, and the part did not come soon.
        """
        with self._turn:
            number = next(self._numbers)
            self._say(
                {
                    "id": run,
                    "say": "need",
                    "number": number,
                    "level": level,
                    "bounds": [list(b) for b in bounds],
                }
            )
            since: float | None = None
            while True:
                try:
                    message = self._parts.get(timeout=_ASK_AGAIN_S)
                except queue.Empty:
                    if cancelled():
                        since = since or time.monotonic()
                        if time.monotonic() - since > PATIENCE_S:
                            raise CancelledError(
                                "The segmentation was cancelled."
                            ) from None
                    continue
                path = Path(message["path"])
                values: NDArray[Any] = np.load(path, allow_pickle=False)
                path.unlink()
                if (message["id"], message["number"]) == (run, number):
                    return values


class _RemoteLevel:
    """A level that the client reads."""

    def __init__(
        self,
        described: Message,
        get: Callable[[list[tuple[int, int]]], NDArray[Any]],
    ) -> None:
        self.shape = tuple(described["shape"])
        self.dtype = np.dtype(described["dtype"])
        self.ndim = len(self.shape)
        chunks = described["chunks"]
        self.chunks = None if chunks is None else tuple(chunks)
        self._get = get

    def __getitem__(self, index: Any) -> NDArray[Any]:
        places = index if isinstance(index, tuple) else (index,)
        bounds, numbers = [], []
        for axis, n in enumerate(self.shape):
            place = places[axis] if axis < len(places) else slice(None)
            numbers.append(not isinstance(place, slice))
            if isinstance(place, slice):
                first, end, step = place.indices(n)
                if step != 1:
                    raise IndexError("parts have no steps")
                bounds.append((first, max(first, end)))
            else:
                first = int(place) + (n if place < 0 else 0)
                bounds.append((first, first + 1))
        part = self._get(bounds)
        return part[tuple(0 if number else slice(None) for number in numbers)]


def open_levels(
    described: list[Message],
    parts: PartQueue,
    run: int,
    cancelled: Callable[[], bool],
    *,
    rgb: bool,
    colours: int,
) -> LazyArray:
    """Open what `describe_levels` described, in the engine.

    Parameters
    ----------
    described : list of Message
        The levels.
    parts : PartQueue
        Where parts come from.
    run : int
        Number of the request.
    cancelled : callable
        Whether it has been cancelled.
    rgb, colours
        As for `LazyArray`.
    """

    def remote(number: int, level: Message) -> _RemoteLevel:
        return _RemoteLevel(level, lambda b: parts.get(run, number, b, cancelled))

    levels: list[Any] = []
    for number, level in enumerate(described):
        if "zarr" in level:
            import zarr

            levels.append(zarr.open_array(level["zarr"], path=level["path"], mode="r"))
        else:
            levels.append(remote(number, level))
    return LazyArray(levels, rgb=rgb, colours=colours)
