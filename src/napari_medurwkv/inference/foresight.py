"""How long a run will take and how much memory, found by computing a few windows."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_medurwkv.errors import ImageError
from napari_medurwkv.inference.checks import check_image
from napari_medurwkv.inference.decide import Decision, label_dtype
from napari_medurwkv.inference.device import choose_device
from napari_medurwkv.inference.intensity import fit_intensity
from napari_medurwkv.inference.plan import make_plan
from napari_medurwkv.inference.predictor import MIRRORED, Predictor, evaluating
from napari_medurwkv.inference.resample import resample, triangle_taps
from napari_medurwkv.inference.ring import Ring
from napari_medurwkv.inference.slices import bands_of_plane, windows_of_band

if TYPE_CHECKING:
    from torch import Tensor

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.io import Image

__all__ = ["Foresight", "foresee", "free_memory"]

REPEATS = 5
"""Batches that are timed; the middle one counts."""
FLOAT = 4


@dataclass(frozen=True, slots=True)
class Foresight:
    """What a run will need.

    Attributes
    ----------
    windows : int
        Windows in all.
    seconds : float
        From the call of `segment` to its return, the model being loaded.
    host_bytes : int or None
        Largest resident memory of this process meanwhile; None where the system does
        not tell how much a process has taken.
    device_bytes : int
        Memory of the GPU that tensors will take at most; 0 on the CPU.
    device : str
        As `DeviceChoice.description`.
    """

    windows: int
    seconds: float
    host_bytes: int | None
    device_bytes: int
    device: str

    def check(self, host_free: int | None, device_free: int | None) -> None:
        """Refuse what cannot fit.

        Parameters
        ----------
        host_free : int or None
            Bytes that this process may take beyond what it has; None if unknown.
        device_free : int or None
            Bytes that are free on the GPU; None on the CPU.

        Raises
        ------
        ImageError
            With the way out.
        """
        if host_free is not None and self.host_bytes is not None:
            more = self.host_bytes - (_resident() or 0)
            if more > host_free:
                raise ImageError(
                    f"This run would need {more / 2**30:.1f} GiB of memory and "
                    f"{host_free / 2**30:.1f} GiB are free; close other programs, crop "
                    "the image, or write the mask into a zarr array."
                )
        if device_free is not None and self.device_bytes > device_free:
            raise ImageError(
                f"This run would need {self.device_bytes / 2**30:.1f} GiB of the GPU's "
                f"memory and {device_free / 2**30:.1f} GiB are free; close other "
                "programs that use it, or choose cpu."
            )


def foresee(
    image: Image,
    model: Model,
    *,
    device: str = "auto",
    overlap: float | None = None,
    instances: bool = False,
    tta: bool = False,
) -> Foresight:
    """Estimate time and memory of a run by computing a few of its windows.

    Parameters
    ----------
    image : Image
        What would be segmented.
    model : Model
        A loaded one; its network stays on the device.
    device, overlap, instances, tta
        As for `segment`.

    Returns
    -------
    Foresight

    Raises
    ------
    ImageError, DeviceError, MedurwkvError
        As `segment`.
    """
    card = model.card
    check_image(image, card)
    plan = make_plan(image.geometry, card, card.overlap if overlap is None else overlap)
    choice = choose_device(device)
    flips = MIRRORED if tta else ((),)
    cuda = choice.device.startswith("cuda")
    _forget_peak(cuda)
    before = _peak()
    with evaluating(model.network), torch.inference_mode():
        predictor = Predictor(
            model.network,
            choice,
            len(card.output_values),
            flips,
            expected=plan.windows,
        )
        fixed, per_plane, per_window, per_slice = _calibrate(
            image, model, plan, predictor, instances
        )
    reading = len(plan.planes) * per_plane
    computing = plan.windows * per_window + plan.native[0] * per_slice
    # A GPU computes while a thread reads.
    seconds = fixed + (max(reading, computing) if cuda else reading + computing)
    after = _peak()
    host = None
    if before is not None and after is not None:
        resident = _resident() or after
        host = max(after, resident + _still_to_come(plan, model, instances, cuda))
    device_bytes = 0
    if cuda:
        device_bytes = torch.cuda.max_memory_allocated(choice.device)
        if plan.volume and plan.resampled:
            device_bytes += _plane_bytes(plan, model, instances)
    return Foresight(plan.windows, seconds, host, int(device_bytes), choice.description)


def _calibrate(
    image: Image, model: Model, plan: Plan, predictor: Predictor, instances: bool
) -> tuple[float, float, float, float]:
    """Time the parts: once, per working plane, per window, per slice of the mask."""
    card = model.card
    clock = _Clock(predictor)
    scale = fit_intensity(
        card.intensity, plan.image_array(image), planes=plan.axis is not None
    )
    source = plan.source(image, card, scale)
    fixed = clock.lap()
    decision = Decision(card, interpolated=plan.resampled, inside=instances)

    # Planes in a row from the middle: the first one reads its neighbours too.
    middle = len(plan.planes) // 2
    numbers = plan.planes[middle : middle + 3] or plan.planes[:1]
    positions = len(plan.grid.rows.starts)
    bands: list[tuple[int, Tensor]] = []
    laps = []
    for number in numbers:
        each = []
        bands = []
        for band_of_row in islice(bands_of_plane(source, number, plan.grid), 4):
            bands.append(band_of_row)
            each.append(clock.lap())
        # The first band of a plane of a volume waits for the whole plane.
        others = sum(each[1:]) / max(1, len(each) - 1)
        laps.append(each[0] + (positions - 1) * others)
        if clock.total > 2:
            break
    per_plane = min(laps)

    row, band = bands[0]
    windows = [
        ((row, column), window)
        for column, window in windows_of_band(band.to(predictor.device), plan.grid)
    ]
    count = max(1, min(predictor.windows_at_once, plan.windows))
    batch = [windows[i % len(windows)] for i in range(count)]
    ring = Ring(plan.grid, len(card.output_values), predictor.device)
    logits = predictor([w for _, w in batch])
    clock.lap()
    times = []
    for _ in range(REPEATS):
        logits = predictor([w for _, w in batch])
        for (place, _), one in zip(batch, logits, strict=True):
            ring.add(place, one)
        times.append(clock.lap() / len(batch))
        if sum(times) * len(batch) > 5:
            break
    per_window = sorted(times)[len(times) // 2]

    # Finished rows, on their way back to the image's grid and into the mask.
    rows = min(plan.working[1], plan.grid.rows.patch)
    back = max(1, round(rows * plan.native[1] / plan.working[1]))
    shape = (len(card.output_values), rows, plan.working[2])
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
    return fixed, per_plane, per_window, min(laps) * plan.native[1] / back


class _Clock:
    """Time since the last lap, and in all; the device's work included."""

    def __init__(self, predictor: Predictor) -> None:
        self._cuda = predictor.device if predictor.device.startswith("cuda") else ""
        self._last = time.perf_counter()
        self.total = 0.0

    def lap(self) -> float:
        if self._cuda:
            torch.cuda.synchronize(self._cuda)
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        self.total += passed
        return passed


def _plane_bytes(plan: Plan, model: Model, instances: bool) -> int:
    """Bytes of the scores of two working planes, kept for the way back."""
    scores = len(set(model.card.output_values)) + instances
    return 2 * scores * plan.working[1] * plan.working[2] * FLOAT


def _still_to_come(plan: Plan, model: Model, instances: bool, cuda: bool) -> int:
    """Bytes on the host that the run takes and the calibration did not."""
    card = model.card
    itemsize = FLOAT if instances else label_dtype(card).itemsize
    total = itemsize * plan.native[0] * plan.native[1] * plan.native[2]
    if cuda:
        return total
    depth = min(plan.grid.rows.patch, plan.grid.rows.length)
    total += depth * len(card.output_values) * plan.working[2] * FLOAT
    if plan.volume:
        total += _plane_bytes(plan, model, instances)
        planes = 2 * card.slice_context + 1
        total += 2 * planes * plan.working[1] * plan.working[2] * FLOAT
    return total


def _resident() -> int | None:
    return _status("VmRSS")


def _peak() -> int | None:
    """Largest resident memory so far; None where the system does not tell."""
    if sys.platform == "darwin":
        import resource

        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return _status("VmHWM")


def _status(name: str) -> int | None:
    file = Path("/proc/self/status")
    if not file.is_file():
        return None
    for line in file.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return None


def _forget_peak(cuda: bool) -> None:
    """Have peaks counted from now on."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    file = Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text("5")


def free_memory(device: str) -> tuple[int | None, int | None]:
    """Return the bytes that are free on the host and on a CUDA device.

    Parameters
    ----------
    device : str
        torch's name of it.

    Returns
    -------
    host, device : int or None
        None where the system does not tell, or there is no such device.
    """
    host = None
    file = Path("/proc/meminfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                host = int(line.split()[1]) * 1024
    if not device.startswith("cuda"):
        return host, None
    get: Any = torch.cuda.mem_get_info
    return host, int(get(device)[0])
