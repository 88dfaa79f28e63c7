"""Results on their way from a device to the host, while the device computes on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["Pending"]

MOST = 8
"""More than so many copies under way are waited for."""


@dataclass(frozen=True, slots=True)
class _Copy:
    arrived: Any
    tensors: tuple[Tensor, ...]
    take: Callable[..., Any]


class Pending:
    """Copies that were ordered, in order; what has arrived is handed on.

    A copy from the CPU arrives at once. From CUDA it goes into pinned memory beside the
    computation; asking for its values right away would stop both sides.
    """

    def __init__(self) -> None:
        self._copies: deque[_Copy] = deque()

    def __len__(self) -> int:
        return len(self._copies)

    def order(self, tensors: tuple[Tensor, ...], take: Callable[..., Any]) -> None:
        """Order copies of tensors and say who takes them.

        Parameters
        ----------
        tensors : tuple of Tensor
            All on one device.
        take : callable
            Called with the copies, on the CPU, by `collect`.
        """
        if tensors[0].device.type != "cuda":
            self._copies.append(_Copy(None, tuple(t.cpu() for t in tensors), take))
            return
        copies = []
        for tensor in tensors:
            pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            copies.append(pinned.copy_(tensor, non_blocking=True))
        new_event: Any = torch.cuda.Event
        arrived = new_event()
        arrived.record(torch.cuda.current_stream(tensors[0].device))
        self._copies.append(_Copy(arrived, tuple(copies), take))

    def collect(self, *, everything: bool = False) -> list[Any]:
        """Hand on what has arrived.

        Parameters
        ----------
        everything : bool
            Wait for all that is under way.

        Returns
        -------
        list
            What the takers returned, in the order of the copies.
        """
        results = []
        while self._copies:
            first = self._copies[0]
            if first.arrived is not None and not first.arrived.query():
                if not everything and len(self._copies) <= MOST:
                    break
                first.arrived.synchronize()
            self._copies.popleft()
            results.append(first.take(*first.tensors))
        return results
