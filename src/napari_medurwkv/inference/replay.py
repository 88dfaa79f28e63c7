"""A network recorded once as a CUDA graph and replayed for every batch.

A small network is hundreds of short kernels; launching them one by one from Python
takes longer than the kernels themselves. All windows of a run have one shape, so a
recording serves the whole run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["Recordings", "Replay"]

_WARM_UP = 1


class Replay:
    """Replays one function of a batch of one shape.

    Parameters
    ----------
    function : callable
        From a batch to a tensor, on a CUDA device; does the same work every time.
    batch : Tensor
        An example; its shape, type and memory format are those of all batches.

    Raises
    ------
    RuntimeError
        If the function cannot be recorded, for example because it looks at values.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], batch: Tensor) -> None:
        self._input = batch.clone()
        new_stream: Any = torch.cuda.Stream
        stream = new_stream(batch.device)
        stream.wait_stream(torch.cuda.current_stream(batch.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                function(self._input)
        torch.cuda.current_stream(batch.device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads go on reading and pinning memory meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output = function(self._input)
        # One is filled while the other is still being used.
        self._results = [
            torch.empty_like(self._output, dtype=torch.float32) for _ in range(2)
        ]
        self._turn = 0

    @property
    def shape(self) -> torch.Size:
        """Shape of the batches; shorter ones are filled up."""
        return self._input.shape

    def __call__(self, windows: list[Tensor]) -> Tensor:
        """Compute a batch of up to as many windows as were recorded.

        Parameters
        ----------
        windows : list of Tensor
            On any device.

        Returns
        -------
        Tensor of float32
            Of as many entries as there are windows; the next call but one overwrites
            it.
        """
        for place, window in zip(self._input, windows, strict=False):
            place.copy_(window, non_blocking=True)
        self._graph.replay()
        self._turn = 1 - self._turn
        result = self._results[self._turn].copy_(self._output)
        return result[: len(windows)]


class Recordings:
    """Recordings of networks that are still in use, for the next run with them.

    One per network: that of the shape that came last. A network whose numbers have
    moved to another place in memory is recorded anew.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[nn.Module, tuple[Any, Any]] = WeakKeyDictionary()

    def find(self, network: nn.Module, batch: Tensor, mode: str) -> Replay | None:
        """Give the recording that fits.

        Parameters
        ----------
        network : nn.Module
            What was recorded.
        batch : Tensor
            Of the shape and on the device that are wanted.
        mode : str
            How the network computes.
        """
        key, replay = self._kept.get(network, (None, None))
        found: Replay | None = replay if key == _key(network, batch, mode) else None
        return found

    def keep(
        self, network: nn.Module, batch: Tensor, mode: str, replay: Replay
    ) -> None:
        """Remember a recording; parameters as for `find`."""
        self._kept[network] = _key(network, batch, mode), replay

    def forget(self, network: nn.Module) -> None:
        """Let go of a network's recording, and of its memory."""
        self._kept.pop(network, None)


def _key(network: nn.Module, batch: Tensor, mode: str) -> tuple[Any, ...]:
    numbers = (*network.parameters(), *network.buffers())
    places = tuple(tensor.data_ptr() for tensor in numbers)
    return tuple(batch.shape), str(batch.device), mode, places
