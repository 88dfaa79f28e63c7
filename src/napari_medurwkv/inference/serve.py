"""The engine process: runs `segment` for a client that must not load torch.

Started by `EngineClient` as ``python -m napari_medurwkv.inference.serve FOLDER``.
Requests come as JSON lines on the standard input, answers leave on the standard
output; whatever else is printed goes to the error stream.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import shutil
import signal
import sys
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.engine_arrays import map_array, write_image
from napari_medurwkv.inference.engine_protocol import (
    Message,
    decode_region,
    encode_error,
    encode_region,
    read_message,
    write_message,
)
from napari_medurwkv.inference.engine_sources import PartQueue, open_levels
from napari_medurwkv.inference.heap import give_memory_back, keep_freed_memory
from napari_medurwkv.io.pyramid_mask import PyramidMask

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Work", "main"]


@dataclass(frozen=True, slots=True)
class Work:
    """What the engine can do, loaded once.

    Attributes
    ----------
    segment : callable
        As `napari_medurwkv.inference.segment`.
    load_model : callable
        As `napari_medurwkv.checkpoints.load_model`; it may keep models.
    devices : callable
        Gives the fields of a `DeviceReport` for a requested device.
    foresee : callable
        As `napari_medurwkv.inference.foresight.foresee`, with `problem` filled in.
    features : callable
        As `napari_medurwkv.inference.features.slice_features`.
    """

    segment: Callable[..., Any]
    load_model: Callable[[str | Path], Any]
    devices: Callable[[str], dict[str, str]]
    foresee: Callable[..., Any]
    features: Callable[..., Any]


def load_work() -> Work:
    """Import torch and everything that needs it; takes seconds."""
    from napari_medurwkv.checkpoints import load_model
    from napari_medurwkv.inference.features import slice_features
    from napari_medurwkv.inference.segmentation import segment

    shelf = _Shelf(load_model)
    return Work(segment, shelf.take, _report_devices, _foresee, slice_features)


class _Shelf:
    """Keeps the model of the last run, as long as its file stays the same."""

    def __init__(self, load_model: Callable[[str | Path], Any]) -> None:
        self._load_model = load_model
        self._kept: tuple[tuple[str, int, int], Any] | None = None

    def take(self, name_or_path: str | Path) -> Any:
        from napari_medurwkv.checkpoints import find

        path = find(name_or_path).path
        stat = path.stat()
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # never two models in memory
            self._kept = (key, self._load_model(path))
        return self._kept[1]


def _report_devices(requested: str) -> dict[str, str]:
    import torch

    from napari_medurwkv.inference.device import choose_device
    from napari_medurwkv.kernels import backend_for

    choice = choose_device(requested)
    backend = backend_for(choice.device)
    return {
        **asdict(choice),
        "torch": torch.__version__,
        "kernels": backend.name,
        "kernels_reason": backend.reason,
    }


def _foresee(image: Any, model: Any, **options: Any) -> Any:
    from napari_medurwkv.inference.foresight import foresee
    from napari_medurwkv.inference.memory import free_memory

    found = foresee(image, model, **options)
    try:
        found.check(*free_memory("cuda" if found.device_bytes else "cpu"))
    except ImageError as error:
        return replace(found, problem=str(error))
    return found


class Server:
    """Answers requests one after the other and listens for cancellation meanwhile."""

    def __init__(self, requests: IO[str], replies: IO[str], folder: Path) -> None:
        self._requests = requests
        self._replies = replies
        self._folder = folder
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._parts = PartQueue(self._say)
        self._saying = threading.Lock()

    def run(self, load: Callable[[], Work]) -> None:
        """Serve until the client is gone."""
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            work = load()
        except Exception as error:
            self._say({"say": "broken", **encode_error(error)})
            return
        self._say({"say": "ready"})
        while True:
            request = self._queue.get()
            try:
                answer = self._answer(work, request)
            except Exception as error:
                # Not swallowed: the client raises it again.
                answer = {"say": "error", **encode_error(error)}
            self._say({"id": request["id"], **answer})
            give_memory_back()

    def _listen(self) -> None:
        for line in self._requests:
            message = read_message(line)
            if message["do"] == "cancel":
                self._cancelled.add(message["id"])
            elif message["do"] == "part":
                self._parts.put(message)
            else:
                self._queue.put(message)
        # The client is gone, perhaps killed: nobody else removes the user's image.
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _say(self, message: Message) -> None:
        # A pipe that broke means that the client is gone; _listen ends the process.
        with self._saying, contextlib.suppress(BrokenPipeError):
            write_message(self._replies, message)

    def _answer(self, work: Work, request: Message) -> Message:
        if request["do"] == "devices":
            return {"say": "result", "devices": work.devices(request["device"])}
        if request["do"] == "foresee":
            return self._foresee(work, request)
        if request["do"] == "features":
            return self._features(work, request)
        return self._segment(work, request)

    def _foresee(self, work: Work, request: Message) -> Message:
        from napari_medurwkv.geometry import Geometry
        from napari_medurwkv.io import Image

        number, sent = request["id"], request["image"]
        geometry = Geometry.from_json(sent["geometry"])
        shape = (*geometry.display_shape, *([sent["colours"]] if sent["rgb"] else []))
        # Takes no memory: the image itself is not needed.
        array = np.broadcast_to(np.zeros((), sent["dtype"]), shape)
        found = work.foresee(
            Image(array, geometry, sent["rgb"], ""),
            work.load_model(request["model"]),
            device=request["device"],
            overlap=request["overlap"],
            instances=request["instances"],
            region=request["region"] and decode_region(request["region"]),
            tta=request["tta"],
            views=request["views"],
            # Whoever waits for a mask does not wait for this.
            cancel=lambda: number in self._cancelled,
        )
        return {"say": "result", "foresight": asdict(found)}

    def _features(self, work: Work, request: Message) -> Message:
        number = request["id"]
        found = work.features(
            map_array(request["picture"], "c"),
            work.load_model(request["model"]),
            spacing=request["spacing"],
            rgb=request["rgb"],
            device=request["device"],
            # Whoever waits for a mask does not wait for this.
            cancel=lambda: number in self._cancelled,
        )
        never = bool
        write_image(Path(request["maps"]), found.maps, never)
        write_image(Path(request["odds"]), found.odds, never)
        return {"say": "result", "values": list(found.values)}

    def _segment(self, work: Work, request: Message) -> Message:
        from napari_medurwkv.geometry import Geometry
        from napari_medurwkv.io import Image

        number = request["id"]
        sent = request["image"]
        array: Any
        if "levels" in sent:
            array = open_levels(
                sent["levels"],
                self._parts,
                number,
                lambda: number in self._cancelled,
                rgb=sent["rgb"],
                colours=sent["colours"],
            )
        else:
            array = map_array(sent["path"], "c")
        image = Image(
            array=array,
            geometry=Geometry.from_json(sent["geometry"]),
            rgb=sent["rgb"],
            name=sent["name"],
            notes=tuple(sent["notes"]),
        )
        labels: Any
        if "pyramid" in request:
            labels = PyramidMask(request["pyramid"])
        else:
            labels = map_array(request["labels"], "r+")
        doubts = request["uncertainty"] and map_array(request["uncertainty"], "r+")

        def tell(progress: Any) -> None:
            region = progress.region
            self._say(
                {
                    "id": number,
                    "say": "progress",
                    "done": progress.done,
                    "total": progress.total,
                    "seconds": progress.seconds,
                    "region": region and encode_region(region, labels.shape),
                }
            )

        result = work.segment(
            image,
            work.load_model(request["model"]),
            device=request["device"],
            overlap=request["overlap"],
            instances=request["instances"],
            region=request["region"] and decode_region(request["region"]),
            tta=request["tta"],
            views=request["views"],
            keep_probabilities=request["probabilities"] or False,
            uncertainty=doubts,
            progress=tell,
            cancel=lambda: number in self._cancelled,
            keep_partial=True,
            out=labels,
        )
        return {
            "say": "result",
            "classes": [info.model_dump(mode="json") for info in result.classes],
            "instances": result.instances,
            "complete": result.complete,
            "fraction": result.fraction,
            "record": result.record.model_dump(mode="json"),
        }


def take_streams() -> tuple[IO[str], IO[str]]:
    """Take the two pipes away from everybody else in this process.

    Prints of any library, C code included, go to the error stream, and nothing can
    read the requests away. On Windows this also keeps libraries that ask for the
    type of the standard input from waiting for the thread that reads it.
    """
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies


def main(load: Callable[[], Work] = load_work) -> None:
    """Serve the client at the other end of the standard streams.

    Parameters
    ----------
    load : callable
        Gives what the engine can do; called once, after the streams are taken.
    """
    requests, replies = take_streams()
    faulthandler.enable()
    keep_freed_memory()
    # Ctrl+C in the terminal reaches both processes; the client decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Server(requests, replies, Path(sys.argv[-1])).run(load)


if __name__ == "__main__":
    main()
