"""Many images: here, in worker processes, or on a dask cluster; never one twice."""

from __future__ import annotations

import contextlib
import multiprocessing
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import CancelledError, MedurwkvError
from napari_medurwkv.inference.ahead import Ahead
from napari_medurwkv.inference.batch_item import Options, do_item, read_item
from napari_medurwkv.inference.worklist import Entry, Item, Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from concurrent.futures import Future

__all__ = ["Places", "run_batch"]

MOST_DEATHS = 2
"""An image whose worker has died so often is taken to be the reason."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a batch is computed.

    Attributes
    ----------
    workers : int
        Processes on this computer; 0 for this process.
    scheduler : str or None
        Address of a dask scheduler that is running already.
    """

    workers: int = 0
    scheduler: str | None = None


def run_batch(
    items: Sequence[Item],
    journal: Journal,
    options: Options,
    places: Places | None = None,
    *,
    retry_failed: bool = True,
    tell: Callable[[Entry, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> None:
    """Segment what the journal does not call done.

    Parameters
    ----------
    items : sequence of Item
        From `list_items`.
    journal : Journal
        Where results are noted, each as soon as its mask is on the disk.
    options : Options
        How to segment.
    places : Places, optional
        Where; in this process by default.
    retry_failed : bool
        Whether to try again what failed in an earlier run.
    tell : callable, optional
        Called with every new entry, how many items are over and how many there are.
    cancel : callable, optional
        Asked often; True ends the batch with `CancelledError`. What is done stays done.

    Raises
    ------
    CancelledError
        If `cancel` said so.
    MedurwkvError
        If workers or cluster cannot be used.
    """
    places = Places() if places is None else places
    stop = cancel or (lambda: False)
    todo = [item for item in items if not _is_over(journal, item, retry_failed)]
    over = len(items) - len(todo)
    if places.scheduler is not None:
        entries = _on_cluster(todo, options, places.scheduler, stop)
    elif places.workers > 0:
        entries = _in_processes(todo, options, places.workers, stop)
    else:
        entries = _here(todo, options, stop)
    with contextlib.closing(entries):
        for entry in entries:
            journal.add(entry)
            over += 1
            if tell is not None:
                tell(entry, over, len(items))


def _is_over(journal: Journal, item: Item, retry_failed: bool) -> bool:
    entry = journal.entry(item)
    if entry is not None and entry.state == "failed":
        return not retry_failed
    return journal.is_done(item)


def _cancelled() -> CancelledError:
    return CancelledError(
        "The batch was cancelled; run it again with the same folder to go on."
    )


def _here(
    todo: Sequence[Item], options: Options, stop: Callable[[], bool]
) -> Generator[Entry, None, None]:
    """One after the other; the next image is read meanwhile."""
    ahead = Ahead(((item, read_item(item)) for item in todo), depth=1)
    try:
        for item, image in ahead:
            if stop():
                raise _cancelled()
            try:
                entry = do_item(item, options, image, stop)
            except CancelledError:
                raise _cancelled() from None
            yield entry
    finally:
        ahead.close()


# ------------------------------------------------------------------ processes


def _in_processes(
    todo: Sequence[Item], options: Options, workers: int, stop: Callable[[], bool]
) -> Generator[Entry, None, None]:
    """In processes of their own; one that dies takes nothing with it but its image."""
    left = list(todo)
    deaths: dict[Item, int] = {}
    while left:
        finished: set[Item] = set()
        try:
            for item, entry in _one_pool(left, options, workers, stop):
                finished.add(item)
                yield entry
        except _PoolDiedError as death:
            for item in death.at_work:
                deaths[item] = deaths.get(item, 0) + 1
                if deaths[item] >= MOST_DEATHS:
                    finished.add(item)
                    yield Entry(item.image, item.frame, "failed", _DEATH)
        left = [item for item in left if item not in finished]


_DEATH = (
    "The worker process ended while it was at this image, most likely because memory "
    "ran out; use fewer workers or crop the image."
)


class _PoolDiedError(Exception):
    def __init__(self, at_work: list[Item]) -> None:
        super().__init__()
        self.at_work = at_work


def _one_pool(
    items: Sequence[Item], options: Options, workers: int, stop: Callable[[], bool]
) -> Generator[tuple[Item, Entry], None, None]:
    # A fresh interpreter each: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    turns = context.Value("i", 0)
    pool = ProcessPoolExecutor(
        min(workers, len(items)),
        mp_context=context,
        initializer=_begin_worker,
        initargs=(turns, max(1, workers)),
    )
    waiting = list(reversed(items))
    at_work: dict[Future[Entry], Item] = {}
    try:
        while waiting or at_work:
            # No more are handed over than are computed: a death costs those at most.
            while waiting and len(at_work) < workers:
                item = waiting.pop()
                at_work[pool.submit(_work, item, options)] = item
            ready, _ = wait(at_work, timeout=0.2, return_when=FIRST_COMPLETED)
            if stop():
                raise _cancelled()
            for future in ready:
                entry = future.result()
                yield at_work.pop(future), entry
    except BrokenProcessPool:
        raise _PoolDiedError(list(at_work.values())) from None
    finally:
        # Masks are written safely, so a worker may be ended at any time.
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        if at_work:
            for process in processes:
                process.terminate()


_DEVICE_TURN = 0


def _begin_worker(turns: Any, workers: int) -> None:
    """Take a number, so that several GPUs are shared out; share out the cores."""
    import os
    import signal

    from napari_medurwkv.inference.heap import keep_freed_memory
    from napari_medurwkv.inference.threads import patient_threads

    # Ctrl+C reaches all processes of a terminal; the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(patient_threads(os.environ))
    keep_freed_memory()
    global _DEVICE_TURN
    with turns.get_lock():
        _DEVICE_TURN = turns.value
        turns.value += 1
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


def _work(item: Item, options: Options) -> Entry:
    if options.device in ("auto", "cuda"):
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count > 1:
            options = replace(options, device=f"cuda:{_DEVICE_TURN % count}")
    return do_item(item, options)


# ------------------------------------------------------------------- clusters


def _on_cluster(
    todo: Sequence[Item], options: Options, address: str, stop: Callable[[], bool]
) -> Generator[Entry, None, None]:
    """On the workers of a dask scheduler, which see the same folders."""
    try:
        from distributed import Client
    except ImportError as error:
        raise MedurwkvError(
            "dask.distributed is not installed: pip install napari-medurwkv[batch]"
        ) from error
    try:
        connect: Any = Client
        client = connect(address, timeout=15, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise MedurwkvError(
            f"No dask scheduler answers at {address}; start one, or name another."
        ) from error
    with client:
        futures: dict[Any, Item] = {
            client.submit(do_item, item, options, pure=False, retries=0): item
            for item in todo
        }
        while futures:
            ready = [future for future in futures if future.done()]
            if stop():
                client.cancel(list(futures))
                raise _cancelled()
            if not ready:
                _pause()
            for future in ready:
                item = futures.pop(future)
                yield _result_of(future, item)


def _result_of(future: Any, item: Item) -> Entry:
    error = future.exception()
    if error is None:
        entry: Entry = future.result()
        return entry
    if type(error).__name__ == "KilledWorker":
        return Entry(item.image, item.frame, "failed", _DEATH)
    raise error


def _pause() -> None:
    import time

    time.sleep(0.05)
