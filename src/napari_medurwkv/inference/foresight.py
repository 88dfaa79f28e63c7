"""How long a run will take and how much memory, before it begins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medurwkv.inference.calibrate import calibrate
from napari_medurwkv.inference.checks import check_image
from napari_medurwkv.inference.decide import label_dtype
from napari_medurwkv.inference.device import choose_device
from napari_medurwkv.inference.forecast import Foresight, refuse_on_host
from napari_medurwkv.inference.heap import give_memory_back
from napari_medurwkv.inference.memory import free_memory, resident
from napari_medurwkv.inference.pilot import seconds_per_plane
from napari_medurwkv.inference.plan import make_plan
from napari_medurwkv.inference.predictor import MIRRORED, Predictor, evaluating
from napari_medurwkv.inference.view_names import view_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.io import Image

__all__ = ["Foresight", "foresee", "refuse_what_cannot_fit"]

FLOAT = 4


def foresee(
    image: Image,
    model: Model,
    *,
    device: str = "auto",
    overlap: float | None = None,
    instances: bool = False,
    tta: bool = False,
    region: tuple[slice, ...] | None = None,
    views: Sequence[str | int] | None = None,
    mask_in_memory: bool = True,
    cancel: Callable[[], bool] | None = None,
) -> Foresight:
    """Estimate time and memory of a run by computing a few of its windows.

    What one window costs is remembered for the network and the device.

    Parameters
    ----------
    image : Image
        What would be segmented, or anything of its shape and type.
    model : Model
        A loaded one; its network stays on the device.
    device, overlap, instances, tta, region, views
        As for `segment`.
    mask_in_memory : bool
        Whether the mask will be an array in memory, and no zarr array or file.
    cancel : callable, optional
        Asked between windows; True ends it.

    Returns
    -------
    Foresight

    Raises
    ------
    CancelledError
        If `cancel` said so.
    ImageError, DeviceError, MedurwkvError
        As `segment`.
    """
    card = model.card
    check_image(image, card)
    chosen = card.overlap if overlap is None else overlap
    axes = view_axes(views, card)
    plans = [
        make_plan(image.geometry, card, chosen, region, axis)
        for axis in axes or (None,)
    ]
    plan = plans[-1]
    windows = sum(one.windows for one in plans)
    choice = choose_device(device)
    cuda = choice.device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with evaluating(model.network), torch.inference_mode():
        predictor = Predictor(
            model.network,
            choice,
            len(card.output_values),
            MIRRORED if tta else ((),),
            expected=windows,
        )
        costs = calibrate(image, model, plan, predictor, instances, cancel)
        piece = None
        if cuda:
            piece = seconds_per_plane(
                image, model, plan, predictor, overlap=chosen, instances=instances
            )
    # Planes of other views have other sizes and as many points in all.
    reading = len(plan.planes) * costs.per_plane * len(plans)
    planes = (plan.part[0][1] - plan.part[0][0]) * len(plans)
    computing = windows * costs.window.seconds + planes * costs.per_slice
    hashing = costs.per_byte * _bytes(image)
    if cuda:
        # It computes while a thread reads and another takes the fingerprint.
        together = max(reading, computing)
        if piece is not None:
            together = piece * len(plan.planes) * len(plans)
        seconds = costs.fixed + max(together, hashing)
    else:
        seconds = costs.fixed + reading + computing + hashing
    give_memory_back()
    now = resident()
    more = room(plan, model, instances=instances, cuda=cuda, mask=mask_in_memory)
    more = max(costs.host_bytes, costs.window.host_bytes + more)
    device_bytes = 0
    if cuda:
        # A recording holds on to what it reserved, though no tensor seems to use it.
        device_bytes = torch.cuda.max_memory_reserved(choice.device)
        if plan.volume and plan.resampled:
            device_bytes += _plane_bytes(plan, model, instances)
    host = None if now is None else now + more
    return Foresight(
        windows, seconds, host, int(device_bytes), choice.description, more
    )


def refuse_what_cannot_fit(
    plan: Plan, model: Model, *, device: str, instances: bool, mask: bool
) -> None:
    """Refuse a run whose mask and rows are certain not to fit into memory.

    What the network takes comes on top and is not counted, because it is not known
    without computing; nor is a GPU's memory, because a run steps down when that is
    short.

    Parameters
    ----------
    plan, model, device, instances
        Of the run.
    mask : bool
        Whether the mask is still to be taken from memory.

    Raises
    ------
    ImageError
        With the way out.
    """
    cuda = device.startswith("cuda")
    more = room(plan, model, instances=instances, cuda=cuda, mask=mask)
    refuse_on_host(more, free_memory("cpu")[0])


def room(plan: Plan, model: Model, *, instances: bool, cuda: bool, mask: bool) -> int:
    """Bytes on the host that a run takes for the mask and for rows under way.

    Parameters
    ----------
    plan, model, instances
        Of the run.
    cuda : bool
        Whether the sums lie on a GPU.
    mask : bool
        Whether the mask is still to be taken from memory.
    """
    card = model.card
    itemsize = FLOAT if instances else label_dtype(card).itemsize
    part = math.prod(end - first for first, end in plan.part)
    total = itemsize * part if mask else 0
    if instances:
        total += 2 * plan.native[1] * plan.native[2]
    if cuda:
        return total
    depth = min(plan.grid.rows.patch, plan.grid.rows.length)
    total += depth * len(card.output_values) * plan.grid.columns.length * FLOAT
    if plan.volume:
        total += _plane_bytes(plan, model, instances)
        planes = 2 * card.slice_context + 1
        total += 2 * planes * plan.working[1] * plan.working[2] * FLOAT
    return total


def _plane_bytes(plan: Plan, model: Model, instances: bool) -> int:
    """Bytes of the scores of two working planes, kept for the way back."""
    scores = len(set(model.card.output_values)) + instances
    return 2 * scores * plan.working[1] * plan.working[2] * FLOAT


def _bytes(image: Image) -> int:
    """Bytes of which the record takes the fingerprint."""
    if image.geometry.source.sha256 is not None:
        return 0
    dtype: np.dtype[Any] = np.dtype(image.array.dtype)
    return math.prod(int(n) for n in image.array.shape) * dtype.itemsize
