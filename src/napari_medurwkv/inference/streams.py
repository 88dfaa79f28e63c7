"""What a GPU does beside the network: rows come, and windows are put together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["Streams"]


class Streams:
    """Two CUDA streams beside the current one; on other devices, no streams at all.

    The network computes on the current stream. It is at most one batch ahead of what is
    done with its output, so two batches of output are alive at a time.

    Parameters
    ----------
    device : str
        Where the run begins.
    """

    def __init__(self, device: str) -> None:
        self._rows: Any = None
        self._sums: Any = None
        self._done: Any = None
        if device.startswith("cuda"):
            new_stream: Any = torch.cuda.Stream
            self._rows = new_stream(device)
            self._sums = new_stream(device)

    def bring(self, rows: Tensor, device: str) -> Tensor:
        """Copy rows to where the network is, while it computes on others.

        Parameters
        ----------
        rows : Tensor
            On the host; pinned, if nobody is to wait for the copy.
        device : str
            Where the network is now.

        Returns
        -------
        Tensor
            To be used on the current stream.
        """
        if self._rows is None or not device.startswith("cuda"):
            return rows.to(device, non_blocking=True)
        current = torch.cuda.current_stream(device)
        with torch.cuda.stream(self._rows):
            band = rows.to(device, non_blocking=True)
        current.wait_stream(self._rows)
        band.record_stream(current)
        return band

    def join(self) -> None:
        """Have the current stream wait for all that was begun beside it."""
        if self._sums is not None:
            torch.cuda.current_stream(self._sums.device).wait_stream(self._sums)

    @contextlib.contextmanager
    def beside(self, logits: Tensor) -> Iterator[None]:
        """Work on the network's output while it computes the next batch.

        Parameters
        ----------
        logits : Tensor
            What the work begins with. What it leaves behind is for later work beside
            the network only.
        """
        if self._sums is None:
            yield
            return
        if logits.device.type != "cuda":
            # The run has moved to the host; what it fetches must be complete.
            self._sums.synchronize()
            yield
            return
        current = torch.cuda.current_stream(logits.device)
        self._sums.wait_stream(current)
        logits.record_stream(self._sums)
        with torch.cuda.stream(self._sums):
            yield
            new_event: Any = torch.cuda.Event
            done = new_event()
            done.record(self._sums)
        if self._done is not None:
            current.wait_event(self._done)
        self._done = done
