"""One run of the engine as its client follows it, and what is said when it dies."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_medurwkv.inference.engine_protocol import Message, decode_region
from napari_medurwkv.inference.result import Progress
from napari_medurwkv.io.pyramid_mask import PyramidMask

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medurwkv.inference.engine_child import EngineProcess
    from napari_medurwkv.io import Image

__all__ = ["AbandonedError", "Listener", "Run", "obituary", "orphan_answer"]


@dataclass(slots=True)
class Run:
    """One request under way, and what its canceller has said."""

    number: int
    child: EngineProcess | None = None
    sent: bool = False
    answered: bool = False
    deadline: float | None = None
    keep_partial: bool = True
    done: int = 0
    total: int = 0
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants it stopped."""
        return self.deadline is not None

    @property
    def fraction(self) -> float:
        """Windows done, as a part of all."""
        return self.done / self.total if self.total else 0.0


@dataclass(slots=True)
class Listener:
    """Where the labels go, who wants to hear of them, and who gives the image."""

    out: Any
    on_progress: Callable[[Progress], None] | None
    on_region: Callable[[tuple[slice, ...]], None] | None
    labels: NDArray[Any] | None = None
    parts: Callable[[Message], Message] | None = None

    def hear(self, message: Message, run: Run, child: EngineProcess) -> bool:
        """Take a message on the way; False for the answer at the end."""
        if message["say"] == "progress":
            self.take(message, run)
        elif message["say"] == "need" and self.parts is not None:
            child.send(self.parts(message))
        else:
            return False
        return True

    def take(self, message: Message, run: Run) -> None:
        """Copy what has become final, and tell."""
        run.done, run.total = message["done"], message["total"]
        region = message["region"] and decode_region(message["region"])
        # A mask on the disk has been filled by the engine itself.
        there = self.labels is not None or isinstance(self.out, PyramidMask)
        if region and self.labels is not None:
            self.out[region] = self.labels[region]
        if region and there and self.on_region is not None:
            self.on_region(region)
        if self.on_progress is not None:
            self.on_progress(Progress(run.done, run.total, region, message["seconds"]))


class AbandonedError(Exception):
    """The run was cancelled and nothing more is to be expected of the child."""


def obituary(code: int, ready: bool, run: Run) -> str:
    """Say in one or two sentences how the child ended and what is left of the run.

    Parameters
    ----------
    code : int
        Exit code; on POSIX the negative number of a signal.
    ready : bool
        Whether the child had started up.
    run : Run
        What it was working at.
    """
    if not ready:
        return (
            f"The engine process ended while it started (exit code {code}); "
            "run `medurwkv doctor` to see what is missing."
        )
    kept = (
        f"the finished part ({run.fraction:.0%}) was kept"
        if run.done
        else "nothing was finished yet"
    )
    if code == -getattr(signal, "SIGKILL", 9):
        return (
            "The engine process was ended by the system, most likely because memory "
            f"ran out; {kept}. Close other programs or crop the image, then run again."
        )
    try:
        how = f"signal {signal.Signals(-code).name}"
    except ValueError:
        how = f"exit code {code}"
    return f"The engine process ended unexpectedly ({how}); {kept}. Run it again."


def orphan_answer(run: Run, request: Message, image: Image) -> Message:
    """Answer in place of a child that was ended before it could.

    Parameters
    ----------
    run : Run
        The cancelled run.
    request : Message
        What the child was asked.
    image : Image
        What it worked on.

    Returns
    -------
    Message
        As the child's own, with a record that says that the device is not known.
    """
    from napari_medurwkv.checkpoints import find
    from napari_medurwkv.io import LazyArray
    from napari_medurwkv.provenance import InputRecord, RunRecord, SoftwareRecord

    entry = find(request["model"])
    finished = datetime.now(UTC)
    record = RunRecord.model_validate(
        {
            "software": SoftwareRecord.here(),
            "model": {
                "name": entry.name,
                "version": entry.card.version,
                "file_name": entry.path.name,
                "sha256": entry.sha256,
                "architecture": entry.card.architecture,
            },
            "input": InputRecord.of(
                image, values=not isinstance(image.array, LazyArray)
            ),
            "parameters": {
                "requested_device": request["device"],
                "overlap": request["overlap"],
                "instances": request["instances"],
            },
            "device_path": ["ended before it said which device it used"],
            "started": run.started,
            "finished": finished,
            "seconds": (finished - run.started).total_seconds(),
            "complete": False,
            "fraction": run.fraction,
        }
    )
    return {
        "classes": [info.model_dump(mode="json") for info in entry.card.classes],
        "instances": request["instances"],
        "complete": False,
        "fraction": run.fraction,
        "record": record.model_dump(mode="json"),
    }
