"""A network recorded once as a CUDA graph and replayed for every batch.

A small network is hundreds of short kernels; launching them one by one from Python
takes longer than the kernels themselves. All windows of a run have one shape, so a
recording serves the whole run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["Replay"]

_WARM_UP = 3


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
        Tensor
            Of as many entries as there are windows; the next call overwrites it.
        """
        for place, window in zip(self._input, windows, strict=False):
            place.copy_(window, non_blocking=True)
        self._graph.replay()
        return self._output[: len(windows)]
