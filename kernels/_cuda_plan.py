"""How a problem is cut into blocks: by its shape and the device, never by values."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

__all__ = ["Limits", "Plan", "Stream", "plan_backward", "plan_forward", "plan_stream"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device allows.

    Attributes
    ----------
    cluster : int
        Most blocks that can share their memory; 1 if none can.
    shared : int
        Bytes of shared memory that a block can have.
    """

    cluster: int
    shared: int


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
    piece : int
        Tokens of a run that a thread keeps in registers at once.
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
    piece: int
    cluster: int
    threads: int
    most: int
    blocks: int
    splits: int

    def shared(self, backward: bool = False) -> int:
        """Most bytes of shared memory that a block takes, sums and tile together."""
        columns = self.lanes * self.vector
        slots = 6 if backward else 10  # of the published variant
        rows = self.most * self.vector * (slots - 2)  # sums of each run
        blocks = self.cluster * columns * slots * (1 + backward)
        others = 32 * columns + 3 * max(4 * columns, self.most)
        return self.staged(0, backward) + 4 * (rows + blocks + others)

    def grid(self, batch: int, channels: int) -> tuple[int, int, int]:
        """Blocks along x (channels), y (tokens) and z (batch)."""
        width = self.lanes * self.vector
        return -(-channels // width), self.cluster * self.splits, batch

    def staged(self, element: int, backward: bool = False) -> int:
        """Bytes of shared memory that a block's tile takes."""
        word = 4 if element == 0 or self.vector == 2 else 2
        words = self.threads * (self.run + (self.lanes < 32))
        if not backward:
            return 2 * words * word
        # k, v, g; and p and q in float32, one of them in g's place if it fits there
        extra = 2 * self.vector - (word == 4)
        return (3 * words + 1) // 2 * 2 * word + 4 * extra * words

    def constants(
        self,
        mode: int,
        element: int,
        aligned: bool,
        segmented: bool = False,
        backward: bool = False,
    ) -> tuple[tuple[str, int], ...]:
        """Macros that the kernel is compiled with."""
        macros = {
            "VECTOR": self.vector,
            "LANES": self.lanes,
            "RUN": self.run,
            "PIECE": self.piece,
            "ALIGNED": int(aligned),
            "CLUSTER": self.cluster,
            "THREADS": self.most,
            "BLOCKS": self.blocks,
            "MODE": mode,
            "ELEMENT": element,
            "SEGMENTED": int(segmented),
            "BACKWARD": int(backward),
        }
        return tuple(macros.items())


@dataclass(frozen=True, slots=True)
class Stream:
    """How the launches for a sequence that no cluster holds are cut.

    Attributes
    ----------
    run : int
        Tokens of a thread, all in registers.
    piece : int
        Tokens whose weights are in registers at once.
    threads : int
        Threads of a block: 32 columns, and as many runs as that allows.
    blocks : int
        Blocks that shall share a processor at least.
    """

    run: int
    piece: int
    threads: int
    blocks: int
    lanes: ClassVar[int] = 32

    @property
    def rows(self) -> int:
        """Runs of a tile."""
        return self.threads // self.lanes

    def tiles(self, tokens: int) -> int:
        """Tiles of a sequence."""
        return -(-tokens // (self.rows * self.run))

    def constants(self, element: int, backward: bool) -> tuple[tuple[str, int], ...]:
        """Macros that the kernels are compiled with."""
        macros = {
            "VECTOR": 1,
            "LANES": self.lanes,
            "RUN": self.run,
            "PIECE": self.piece,
            "ALIGNED": 0,
            "CLUSTER": 1,
            "THREADS": self.threads,
            "BLOCKS": self.blocks,
            "ELEMENT": element,
            "BACKWARD": int(backward),
        }
        return tuple(macros.items())


class _Way(NamedTuple):
    """A way to cut; the fields are those of a plan."""

    lanes: int
    run: int
    piece: int
    cluster: int
    threads: int
    blocks: int


# The fastest of those that were tried on an H100, from short sequences to long ones.
# The last of the forward ways is for the published variant where it must be split:
# other sequences longer than LONGEST tokens, or than a cluster holds, are streamed.
_FORWARD = (
    _Way(16, 16, 8, 1, 256, 4),
    _Way(32, 32, 8, 16, 256, 3),
    _Way(16, 32, 8, 16, 256, 3),
    _Way(8, 32, 8, 16, 256, 3),
    _Way(16, 32, 8, 1, 256, 2),
)
_FORWARD_PAIRS = (
    _Way(8, 16, 4, 1, 128, 8),
    _Way(8, 32, 4, 1, 256, 3),
    _Way(32, 32, 4, 16, 256, 3),
    _Way(16, 32, 4, 16, 256, 2),
    _Way(8, 32, 4, 16, 256, 2),
    _Way(16, 32, 4, 1, 256, 2),
)
_BACKWARD = (
    _Way(16, 16, 4, 1, 256, 3),
    _Way(16, 16, 4, 4, 256, 2),
    _Way(8, 16, 4, 16, 256, 2),
)
_BACKWARD_PAIRS = (
    _Way(8, 16, 2, 1, 128, 5),
    _Way(8, 32, 2, 1, 256, 1),
    _Way(8, 16, 2, 16, 256, 2),
)
LONGEST = {
    (False, False): 8192,
    (False, True): 16384,
    (True, False): 8192,
    (True, True): 8192,
}
"""Longest sequences that are not streamed, by (backward, pairs)."""


def plan_stream(backward: bool, halves: bool) -> Stream:
    """Cut a sequence that is too long for a cluster.

    Parameters
    ----------
    backward : bool
        Cut a backward pass.
    halves : bool
        Keys and values are of half precision.

    Returns
    -------
    Stream
    """
    if backward:
        return Stream(16, 4, 256, 2)
    return Stream(32, 8 if halves else 16, 256, 2)


@functools.lru_cache(maxsize=1024)
def plan_forward(
    batch: int, tokens: int, channels: int, pairs: bool, limits: Limits
) -> Plan:
    """Cut a forward pass.

    Parameters
    ----------
    batch, tokens, channels : int
        The problem's shape.
    pairs : bool
        Two neighbouring channels fit one 4-byte word.
    limits : Limits
        The device's.

    Returns
    -------
    Plan
    """
    vector = 2 if pairs else 1
    ways = _FORWARD_PAIRS if pairs else _FORWARD
    return _cut(tokens, vector, ways, limits, backward=False)


@functools.lru_cache(maxsize=1024)
def plan_backward(
    batch: int, tokens: int, channels: int, pairs: bool, limits: Limits
) -> Plan:
    """Cut a backward pass; arguments as in :func:`plan_forward`."""
    vector = 2 if pairs else 1
    ways = _BACKWARD_PAIRS if pairs else _BACKWARD
    return _cut(tokens, vector, ways, limits, backward=True)


def _cut(
    tokens: int,
    vector: int,
    ways: tuple[_Way, ...],
    limits: Limits,
    *,
    backward: bool,
) -> Plan:
    """Take the first way that sees the whole sequence at once, else split it."""
    for way in ways:
        most = way.threads
        cluster = 1
        while cluster < min(way.cluster, limits.cluster) and (
            cluster * (most // way.lanes) * way.run < tokens
        ):
            cluster *= 2
        plan = _plan(tokens, vector, way, most, cluster)
        fits = plan.shared(backward) <= limits.shared
        if plan.splits == 1 and fits:
            return plan
    while not fits:
        most //= 2
        plan = _plan(tokens, vector, way, most, 1)
        fits = plan.shared(backward) <= limits.shared
    return plan


def _plan(tokens: int, vector: int, way: _Way, most: int, cluster: int) -> Plan:
    rows = most // way.lanes
    splits = -(-tokens // (cluster * rows * way.run))
    if splits == 1:
        rows = -(-tokens // (cluster * way.run))
        rows += -rows % (32 // way.lanes)  # whole warps
    threads = rows * way.lanes
    return Plan(
        vector,
        way.lanes,
        way.run,
        way.piece,
        cluster,
        threads,
        most,
        way.blocks,
        splits,
    )
