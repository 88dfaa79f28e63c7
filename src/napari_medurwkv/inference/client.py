"""Segmentation in a child process, for programs that must not load torch.

Importing torch holds Python's global lock for seconds, which would freeze a window.
The client starts ``napari_medurwkv.inference.serve`` once, keeps it warm between runs
and can end it at any time. It knows neither torch nor Qt.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import CancelledError, GeometryError, MedurwkvError
from napari_medurwkv.inference.engine_child import (
    EngineEndedError,
    EngineProcess,
    default_command,
)
from napari_medurwkv.inference.engine_exchange import Exchange
from napari_medurwkv.inference.engine_host import EngineHost, exchanged_files
from napari_medurwkv.inference.engine_protocol import (
    EngineBusyError,
    EngineError,
    Message,
    decode_error,
)
from napari_medurwkv.inference.engine_questions import EngineQuestions
from napari_medurwkv.inference.engine_requests import (
    DeviceReport,
    segment_request,
    take_result,
)
from napari_medurwkv.inference.engine_run import (
    AbandonedError,
    Listener,
    Run,
    obituary,
    orphan_answer,
)
from napari_medurwkv.inference.further import Further
from napari_medurwkv.inference.probabilities import leave_nothing, new_cache_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.inference.result import (
        Progress,
        Segmentation,
    )
    from napari_medurwkv.io import Image

__all__ = ["DeviceReport", "EngineClient"]

CLOSED = "The engine is closed; make a new EngineClient."


class EngineClient(EngineQuestions):
    """Runs `segment` in a child process that stays warm.

    One run at a time: a second one raises. All methods may be called from any
    thread; `segment` and `device_report` block, so a window calls them in a worker.

    Parameters
    ----------
    command : sequence of str, optional
        What to start; the engine of this package by default.
    grace : float
        Seconds within which a cancelled run must end before the child is killed.
    """

    def __init__(
        self, *, command: Sequence[str] | None = None, grace: float = 1.5
    ) -> None:
        self._grace = grace
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards the fields below; never held for long
        self._turn = threading.Lock()  # held by whoever talks to the child
        self._run: Run | None = None
        self._question: Run | None = None
        self._closed = False
        self._host = EngineHost(default_command() if command is None else command)
        self._release = weakref.finalize(self, self._host.release)

    def start(self) -> None:
        """Start the child, so that it loads torch while nobody waits.

        Raises
        ------
        EngineError
            If the client is closed or the process cannot be started.
        """
        with self._lock:
            self._living_child()

    @contextlib.contextmanager
    def _files(self) -> Iterator[tuple[Path, Path, Path]]:
        """Name three files that cross the border, between two runs."""
        with self._lock:
            self._refuse_second()
            self._living_child()
            folder = self._host.folder
        if folder is None:
            raise EngineError(CLOSED)
        with exchanged_files(folder, next(self._numbers)) as paths:
            yield paths

    def _ask(self, request: Message) -> Message:
        """Put a question to the child between two runs."""
        with self._lock:
            self._refuse_second()
        run = Run(next(self._numbers))
        with self._turn:
            self._question = run
            try:
                child = self._ready_child(run)
                self._send(child, run, request)
                return self._answer(child, run)
            except EngineEndedError:
                raise self._death(run) from None
            finally:
                self._question = None

    def segment(
        self,
        image: Image,
        model: str | Path,
        *,
        out: NDArray[Any],
        device: str = "auto",
        overlap: float | None = None,
        instances: bool = False,
        region: tuple[slice, ...] | None = None,
        further: Further | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_region: Callable[[tuple[slice, ...]], None] | None = None,
    ) -> Segmentation:
        """Segment an image in the child process; blocks.

        Parameters
        ----------
        image : Image
            Its array is handed over slab by slab; of a `LazyArray` only the parts that
            windows need, when they need them.
        model : str or Path
            Name in the catalogue, or path of a checkpoint.
        out : ndarray
            Labels in display order, of an integer type; filled region by region.
        device, overlap, instances, region
            As for `napari_medurwkv.segment`.
        further : Further, optional
            Views, mirror images, probabilities, uncertainty; none by default. Kept
            probabilities go with the result.
        on_progress : callable, optional
            Called in this thread after every window.
        on_region : callable, optional
            Called in this thread with the part of `out` that has just become final.

        Returns
        -------
        Segmentation
            Its labels are `out`; not complete if the run was cancelled.

        Raises
        ------
        CancelledError
            If it was cancelled with ``keep_partial=False`` or before anything was
            final, or if the client was closed.
        EngineError
            If another run is under way, the child died, or an unforeseen error
            happened in it. What had become final is in `out`.
        MedurwkvError
            Whatever `napari_medurwkv.segment` raises.
        """
        if out.shape != image.geometry.display_shape:
            raise GeometryError(
                f"The labels have the shape {out.shape}, the image "
                f"{image.geometry.display_shape}; make them equal."
            )
        further = further or Further()
        request = segment_request(
            image,
            model,
            device=device,
            overlap=overlap,
            instances=instances,
            region=region,
            further=further,
        )
        listener = Listener(out, on_progress, on_region)
        kept = new_cache_path() if further.keep_probabilities else None
        request["probabilities"] = None if kept is None else str(kept)
        with self._begin() as run, leave_nothing(kept) as stays:
            try:
                answer = self._carry_out(run, request, image, listener, further)
            except AbandonedError:
                answer = None
            except EngineEndedError:
                raise self._death(run) from None
            if answer is None:
                raise CancelledError("The segmentation was cancelled.")
            result = take_result(answer, image, out, kept)
            stays.append(result.probabilities)
        return result

    def cancel(self, *, keep_partial: bool = True) -> None:
        """Stop the run under way within one window; does nothing without one.

        Returns at once; `segment` returns or raises soon after. A child that does
        not answer within the grace time is killed, and another is started.

        Parameters
        ----------
        keep_partial : bool
            Whether `segment` returns what is finished, or raises `CancelledError`.
        """
        with self._lock:
            run = self._run
            if run is None or run.cancelled:
                return
            run.keep_partial = keep_partial
            run.deadline = time.monotonic() + self._grace
            if run.child is not None:
                if run.sent:
                    run.child.send({"do": "cancel", "id": run.number})
                run.child.wake()

    def close(self) -> None:
        """End the child and remove the private folder; a run under way is lost."""
        with self._lock:
            self._closed = True
            self._release()

    # Runs

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Run]:
        """Register a run, so that it can be cancelled and no second one starts."""
        with self._lock:
            self._refuse_second()
            self._run = run = Run(next(self._numbers))
        try:
            yield run
        finally:
            with self._lock:
                self._run = None
            if run.sent and not run.answered and run.child is not None:
                # A callback raised: the child must not go on for nobody.
                run.child.send({"do": "cancel", "id": run.number})

    def _refuse_second(self) -> None:
        if self._closed:
            raise EngineError(CLOSED)
        if self._run is not None:
            raise EngineBusyError(
                "The engine is busy with another image; cancel that run or wait for it."
            )

    def _carry_out(
        self,
        run: Run,
        request: Message,
        image: Image,
        listener: Listener,
        further: Further,
    ) -> Message:
        """Hand the image over, start the work and follow it to its end."""
        with self._lock:
            self._living_child()  # it loads torch while the image is written
            folder = self._host.folder
        if folder is None:
            raise EngineError(CLOSED)
        with exchanged_files(folder, run.number) as paths:
            exchange = Exchange(paths, image, listener, further)
            if not exchange.put(request, lambda: run.cancelled):
                raise AbandonedError
            try:
                answer = self._converse(run, request, listener)
            except AbandonedError:
                if not run.done or not run.keep_partial:
                    raise
                return orphan_answer(run, request, exchange.image())
            finally:
                listener.labels = None  # Windows cannot remove a mapped file
            exchange.take(answer)
        if run.cancelled and not run.keep_partial:
            raise AbandonedError
        return answer

    def _converse(self, run: Run, request: Message, listener: Listener) -> Message:
        with self._take_turn(run):
            child = self._ready_child(run)
            self._send(child, run, request)
            return self._answer(child, run, listener)

    @contextlib.contextmanager
    def _take_turn(self, run: Run) -> Iterator[None]:
        """Wait for a device report under way, and end a forecast.

        A cancelled run waits no longer.
        """
        while not self._turn.acquire(timeout=0.05):
            if run.cancelled:
                raise AbandonedError
            question = self._question
            if question is not None and question.sent and question.child is not None:
                question.child.send({"do": "cancel", "id": question.number})
        try:
            yield
        finally:
            self._turn.release()

    # The child

    def _living_child(self) -> EngineProcess:
        """Give the child, started if need be; the lock is held."""
        if self._closed:
            raise EngineError(CLOSED)
        return self._host.living_child()

    def _ready_child(self, run: Run) -> EngineProcess:
        """Wait until the child has loaded torch and takes requests."""
        with self._lock:
            run.child = child = self._living_child()
        while not child.ready:
            message = self._next(child, run)
            if message["say"] == "ready":
                child.ready = True
            elif message["say"] == "broken":
                raise EngineError(
                    f"The engine could not start: {message['sentence']} "
                    "Run `medurwkv doctor` to see what is missing.",
                    message["details"],
                )
        return child

    def _send(self, child: EngineProcess, run: Run, request: Message) -> None:
        with self._lock:
            if run.cancelled:
                raise AbandonedError
            run.sent = True
        child.send({"id": run.number, **request})

    def _next(self, child: EngineProcess, run: Run) -> Message:
        """Wait for a message, within the grace time once the run is cancelled."""
        if run.deadline is None:
            return child.receive()
        if not run.sent:
            raise AbandonedError
        try:
            return child.receive(max(0.0, run.deadline - time.monotonic()))
        except TimeoutError:
            child.kill()
            self.start()  # the next run must not wait for torch
            raise AbandonedError from None

    def _answer(
        self, child: EngineProcess, run: Run, listener: Listener | None = None
    ) -> Message:
        """Follow a request to its answer."""
        while True:
            message = self._next(child, run)
            if message.get("id") != run.number:
                continue  # of an earlier run whose caller went away
            if listener is not None and listener.hear(message, run, child):
                continue
            run.answered = True
            if message["say"] == "error":
                error = decode_error(message)
                if isinstance(error, EngineError):
                    # Nobody knows what it left behind: a GPU may be unusable now.
                    child.kill()
                    self.start()
                raise error
            return message

    def _death(self, run: Run) -> MedurwkvError:
        """Say what ended the child."""
        with self._lock:
            if self._closed:
                return CancelledError("The engine was closed while it was at work.")
        child = run.child
        if child is None:
            return EngineError("The engine process ended before it was asked.")
        run.answered = True
        code = child.wait()
        return EngineError(obituary(code, child.ready, run), child.last_words())
