"""How a problem is cut into blocks: by its shape and the device, never by values."""

from __future__ import annotations

import functools
from dataclasses import dataclass

__all__ = ["Plan", "plan_backward", "plan_forward"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one launch is cut.

    Attributes
    ----------
    vector : int
        Neighbouring channels of a thread.
    lanes : int
        Threads side by side along the channels.
    run : int
        Tokens of a thread.
    cluster : int
        Blocks that exchange sums through shared memory.
    threads : int
        Threads of a block.
    most : int
        Threads that the kernel is compiled for.
    blocks : int
        Blocks that shall fit a processor at once.
    splits : int
        Parts of the sequence, one cluster each; more than one takes two launches.
    """

    vector: int
    lanes: int
    run: int
    cluster: int
    threads: int
    most: int
    blocks: int
    splits: int

    def grid(self, batch: int, channels: int) -> tuple[int, int, int]:
        """Blocks along x (channels), y (tokens) and z (batch)."""
        width = self.lanes * self.vector
        return -(-channels // width), self.cluster * self.splits, batch

    def constants(
        self, mode: int, element: int, segmented: bool = False, backward: bool = False
    ) -> dict[str, int]:
        """Macros that the kernel is compiled with."""
        return {
            "VECTOR": self.vector,
            "LANES": self.lanes,
            "RUN": self.run,
            "CLUSTER": self.cluster,
            "THREADS": self.most,
            "BLOCKS": self.blocks,
            "MODE": mode,
            "ELEMENT": element,
            "SEGMENTED": int(segmented),
            "BACKWARD": int(backward),
        }


@functools.lru_cache(maxsize=1024)
def plan_forward(
    batch: int, tokens: int, channels: int, half: bool, pairs: bool, clusters: bool
) -> Plan:
    """Cut a forward pass.

    Parameters
    ----------
    batch, tokens, channels : int
        The problem's shape.
    half : bool
        Half precision.
    pairs : bool
        Two neighbouring channels can be read at once.
    clusters : bool
        The device has thread block clusters.

    Returns
    -------
    Plan
    """
    vector = 2 if half and pairs else 1
    return _cut(tokens, vector, 16 // vector, clusters)


@functools.lru_cache(maxsize=1024)
def plan_backward(
    batch: int, tokens: int, channels: int, half: bool, pairs: bool, clusters: bool
) -> Plan:
    """Cut a backward pass; arguments as in :func:`plan_forward`."""
    vector = 2 if half and pairs else 1
    return _cut(tokens, vector, 8 // vector, clusters)


def _cut(tokens: int, vector: int, run: int, clusters: bool) -> Plan:
    """Few lanes and long runs first, then clusters, then several launches."""
    lanes, most = 8, 512
    rows = most // lanes
    cluster = 1
    while clusters and cluster < 8 and cluster * rows * run < tokens:
        cluster *= 2
    if cluster * rows * run < tokens:
        lanes, most = 32, 256
        rows = most // lanes
    splits = -(-tokens // (cluster * rows * run))
    if splits == 1:
        rows = -(-tokens // (cluster * run))
        lanes = 16 if rows * 16 <= most // 2 else lanes
        rows += -rows % (32 // lanes)  # whole warps
    return Plan(vector, lanes, run, cluster, rows * lanes, most, 512 // most, splits)
