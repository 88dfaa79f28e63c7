"""One function from an image to a cleaner one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medurwkv.errors import CancelledError, CheckpointError, MedurwkvError
from napari_medurwkv.inference.checks import check_image
from napari_medurwkv.inference.device import choose_device
from napari_medurwkv.inference.intensity import fit_intensity
from napari_medurwkv.inference.plan import make_plan
from napari_medurwkv.inference.predictor import Predictor, evaluating
from napari_medurwkv.inference.result import Progress
from napari_medurwkv.inference.segmentation import as_image, as_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.checkpoints import Model, ModelCard
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.inference.intensity import IntensityScale
    from napari_medurwkv.inference.windows import WindowGrid
    from napari_medurwkv.io import Image

__all__ = ["Restoration", "restore"]


@dataclass(frozen=True, slots=True)
class Restoration:
    """A restored image.

    Attributes
    ----------
    array : ndarray of float32
        In display order, in the units of the image that it came from.
    geometry : Geometry
        Of that image.
    device : str
        Where it was computed.
    seconds : float
    """

    array: NDArray[np.float32]
    geometry: Geometry
    device: str
    seconds: float


def restore(
    image: Image | NDArray[Any] | str | Path,
    model: Model | str | Path,
    *,
    device: str = "auto",
    overlap: float | None = None,
    frame: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Restoration:
    """Restore an image: a network's idea of what it shows without its noise.

    A stack is restored slice by slice, with one set of intensity limits. The limits
    are undone afterwards, so that values keep their meaning; what lies outside them
    was clipped before, if the card says so.

    Parameters
    ----------
    image : Image, ndarray or path
        What to restore; grey.
    model : Model, str or Path
        A model whose card's task is restoration.
    device, overlap, frame, progress, cancel
        As for `segment`.

    Raises
    ------
    CancelledError
        If `cancel` said so.
    ImageError, CheckpointError, DeviceError, GeometryError
        If something does not fit; the message says what.
    MedurwkvError
        If the network's output is not finite, or memory ran out.
    """
    clock = time.perf_counter()
    picture, loaded = as_image(image, frame), as_model(model)
    card = loaded.card
    if card.task != "restoration":
        raise CheckpointError(
            f"{card.name} segments images and does not restore them: use 'segment'."
        )
    check_image(picture, card)
    chosen = card.overlap if overlap is None else overlap
    plan = make_plan(picture.geometry, card, chosen)
    if plan.resampled or picture.rgb or card.network_channels != 1:
        raise CheckpointError(
            f"{card.name} cannot restore this image: only grey images on their own "
            "grid are restored."
        )
    grid = plan.grid
    stopped = cancel or (lambda: False)

    def check() -> None:
        if stopped():
            raise CancelledError("The restoration was cancelled; nothing was changed.")

    scale = fit_intensity(
        card.intensity, picture.array, planes=plan.axis is not None, check=check
    )
    source = plan.source(picture, card, scale)
    rows, columns = plan.native[1:]
    out = np.empty(plan.native, np.float32)
    choice = choose_device(device)
    done = 0
    with evaluating(loaded.network), torch.inference_mode():
        predictor = Predictor(loaded.network, choice, 1)
        for plane in plan.planes:
            whole = source.rows(plane, 0, rows)
            total = torch.zeros(rows, columns)
            for place in grid.places():
                check()
                first, end, left, right, weights = _window(grid, place)
                part = whole[:, first:end, left:right].contiguous()
                total[first:end, left:right] += predictor([part])[0, 0].cpu() * weights
                done += 1
                if progress is not None:
                    seconds = time.perf_counter() - clock
                    progress(Progress(done, plan.windows, None, seconds))
            out[plane] = _undone(total, scale, card)
    shape = tuple(picture.geometry.display_shape)
    array = np.moveaxis(out, 0, plan.axis) if plan.axis else out.reshape(shape)
    return Restoration(
        np.ascontiguousarray(array),
        picture.geometry,
        predictor.device,
        time.perf_counter() - clock,
    )


def _window(
    grid: WindowGrid, place: tuple[int, ...]
) -> tuple[int, int, int, int, Tensor]:
    """Return where a window lies on its plane, and what its pixels count for."""
    first, end = grid.rows.covered(place[-2])
    left, right = grid.columns.covered(place[-1])
    rows = torch.from_numpy(grid.rows.weights[place[-2]])
    columns = torch.from_numpy(grid.columns.weights[place[-1]])
    return first, end, left, right, rows[:, None] * columns


def _undone(plane: Tensor, scale: IntensityScale, card: ModelCard) -> Any:
    """Bring network output back to the units of the image."""
    if not bool(plane.isfinite().all()):
        raise MedurwkvError(
            f"The output of {card.name} is not finite: the checkpoint is damaged, or "
            "the intensities are far from what it was trained with."
        )
    values = plane.numpy() * scale.std + scale.mean
    return values * (scale.high - scale.low) + scale.low
