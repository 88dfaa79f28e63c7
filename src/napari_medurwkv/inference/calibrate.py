"""What the parts of a run cost on this computer, found by doing a few of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from napari_medurwkv.errors import CancelledError
from napari_medurwkv.inference.decide import Decision
from napari_medurwkv.inference.heap import give_memory_back
from napari_medurwkv.inference.intensity import fit_intensity
from napari_medurwkv.inference.memory import forget_peak, peak, resident
from napari_medurwkv.inference.resample import resample, triangle_taps
from napari_medurwkv.inference.ring import Ring
from napari_medurwkv.inference.slices import bands_of_plane, windows_of_band

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.inference.slices import Source
    from napari_medurwkv.io import Image

__all__ = ["Costs", "WindowCost", "calibrate", "window_cost"]

REPEATS = 20
"""Batches that are timed; the middle one counts."""
ENOUGH_S = 1.0
"""After this no further part of a kind is timed."""
HASHED = 1 << 23
"""Bytes of which a fingerprint is taken to see how long that takes."""


@dataclass(frozen=True, slots=True)
class WindowCost:
    """What one window costs.

    Attributes
    ----------
    seconds : float
        Network and sums.
    host_bytes : int
        What the network takes of this process's memory beside its weights.
    """

    seconds: float
    host_bytes: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What the parts of a run cost.

    Attributes
    ----------
    window : WindowCost
        Of each window.
    fixed : float
        Seconds before the first window.
    per_plane : float
        Seconds to read a working plane.
    per_slice : float
        Seconds to decide a slice of the mask.
    per_byte : float
        Seconds to take the fingerprint of a byte.
    host_bytes : int
        What looking at the intensities takes.
    """

    window: WindowCost
    fixed: float
    per_plane: float
    per_slice: float
    per_byte: float
    host_bytes: int


class _Clock:
    """Time since the last lap, and in all; the device's work included."""

    def __init__(self, predictor: Predictor) -> None:
        self._cuda = predictor.device if predictor.device.startswith("cuda") else ""
        self._last = time.perf_counter()
        self.total = 0.0

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        if self._cuda:
            torch.cuda.synchronize(self._cuda)
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        self.total += passed
        return passed


def calibrate(
    image: Image,
    model: Model,
    plan: Plan,
    predictor: Predictor,
    instances: bool,
    cancel: Callable[[], bool] | None = None,
) -> Costs:
    """Do a few of the parts of a run.

    Parameters
    ----------
    image : Image
        What would be segmented, or anything of its shape and type.
    model : Model
        A loaded one.
    plan : Plan
        Of the run.
    predictor : Predictor
        Of the run.
    instances : bool
        Whether objects would be numbered.
    cancel : callable, optional
        Asked between the parts; True ends it.

    Raises
    ------
    CancelledError
        If `cancel` said so.
    """

    def check() -> None:
        if cancel is not None and cancel():
            raise CancelledError("The forecast was cancelled.")

    card = model.card
    before = resident()
    forget_peak()
    clock = _Clock(predictor)
    scale = fit_intensity(
        card.intensity,
        plan.image_array(image),
        planes=plan.axis is not None,
        check=check,
    )
    fixed = clock.lap()
    looking = _beyond(before)
    source = plan.source(image, card, scale)
    per_plane, bands = _read(source, plan, clock)
    check()
    window = window_cost(model.network, bands, plan, predictor, check)
    check()
    decision = Decision(card, interpolated=plan.resampled, inside=instances)
    per_slice = _decide(decision, plan, predictor, clock)
    block = bytes(HASHED)
    clock.lap()
    hashlib.sha256(block)
    return Costs(window, fixed, per_plane, per_slice, clock.lap() / HASHED, looking)


def _read(
    source: Source, plan: Plan, clock: _Clock
) -> tuple[float, list[tuple[int, Tensor]]]:
    """Read planes in a row from the middle: the first one reads its neighbours too."""
    middle = len(plan.planes) // 2
    numbers = plan.planes[middle : middle + 4] or plan.planes[:1]
    positions = len(plan.grid.rows.starts)
    bands: list[tuple[int, Tensor]] = []
    laps = []
    clock.lap()
    clock.total = 0.0
    for number in numbers:
        each = []
        bands = []
        for band in islice(bands_of_plane(source, number, plan.grid), 4):
            bands.append(band)
            each.append(clock.lap())
        # The first band of a plane of a volume waits for the whole plane.
        others = sum(each[1:]) / max(1, len(each) - 1)
        laps.append(each[0] + (positions - 1) * others)
        if clock.total > ENOUGH_S:
            break
    return min(laps), bands


_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, WindowCost]] = WeakKeyDictionary()


def window_cost(
    network: nn.Module,
    bands: list[tuple[int, Tensor]],
    plan: Plan,
    predictor: Predictor,
    check: Callable[[], None],
) -> WindowCost:
    """Time windows, unless they have been timed for this network and device.

    Parameters
    ----------
    network : nn.Module
        What the predictor computes.
    bands : list
        A few bands of network input, from `bands_of_plane`.
    plan : Plan
        Says where windows lie.
    predictor : Predictor
        Where and how they are computed.
    check : callable
        Called between batches; may raise.
    """
    count = max(1, min(predictor.windows_at_once, plan.windows))
    key = (predictor.device, predictor.flips, count, torch.get_num_threads())
    known = _KNOWN.setdefault(network, {})
    if key in known:
        return known[key]
    row, band = bands[0]
    windows = [
        ((row, column), window)
        for column, window in windows_of_band(band.to(predictor.device), plan.grid)
    ]
    batch = [windows[i % len(windows)] for i in range(count)]
    ring = Ring(plan.grid, predictor.outputs, predictor.device)
    clock = _Clock(predictor)
    for _ in range(2):  # the first ones load what the others only use
        predictor([w for _, w in batch])
        check()
        if clock.lap() > ENOUGH_S:
            break
    clock.total = 0.0
    give_memory_back()  # what is kept for reuse would hide what a window takes
    before = resident()
    forget_peak()
    times = []
    for _ in range(REPEATS):
        logits = predictor([w for _, w in batch])
        for (place, _), one in zip(batch, logits, strict=True):
            ring.add(place, one)
        times.append(clock.lap() / len(batch))
        check()
        if clock.total > ENOUGH_S:
            break
    known[key] = WindowCost(sorted(times)[len(times) // 2], _beyond(before))
    return known[key]


def _beyond(before: int | None) -> int:
    after = peak()
    return 0 if before is None or after is None else max(0, after - before)


def _decide(
    decision: Decision, plan: Plan, predictor: Predictor, clock: _Clock
) -> float:
    """Bring finished rows back to the image's grid and choose their values."""
    rows = min(plan.working[1], plan.grid.rows.patch)
    back = max(1, round(rows * plan.native[1] / plan.working[1]))
    shape = (predictor.outputs, rows, plan.working[2])
    averages = torch.zeros(shape, device=predictor.device)
    clock.lap()
    laps = []
    for _ in range(3):  # the first one loads what the others only use
        scores = decision.scores(averages)
        if plan.resampled and plan.volume:
            scores = scores * 0.5 + scores * 0.5
        scores = resample(scores, triangle_taps(rows, back), 1)
        scores = resample(scores, triangle_taps(plan.working[2], plan.native[2]), 2)
        decision.labels(scores)
        laps.append(clock.lap())
    return min(laps) * plan.native[1] / back
