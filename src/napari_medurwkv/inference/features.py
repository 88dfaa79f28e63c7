"""What a network has to say of each pixel of a slice, for tools that learn from it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_medurwkv.errors import CancelledError, CheckpointError, DeviceError
from napari_medurwkv.geometry import Geometry
from napari_medurwkv.inference.checks import check_channels
from napari_medurwkv.inference.decide import Decision
from napari_medurwkv.inference.device import choose_device
from napari_medurwkv.inference.intensity import fit_intensity
from napari_medurwkv.inference.plan import scaled_points, standard_of
from napari_medurwkv.inference.predictor import evaluating
from napari_medurwkv.inference.resample import resample, triangle_taps
from napari_medurwkv.inference.result import SliceFeatures
from napari_medurwkv.inference.ring import Ring
from napari_medurwkv.inference.slices import (
    PlanarSource,
    bands_of_plane,
    windows_of_band,
)
from napari_medurwkv.inference.windows import window_grid
from napari_medurwkv.io import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_medurwkv.checkpoints import Model, ModelCard

__all__ = ["slice_features"]

_STRIDES = (4, 8)
_KEPT = 12
"""Principal components of the maps of each stride; they hold nine tenths of them."""
_FEWEST = 8
_OVERLAP = 0.4
_LARGEST = 12.0


def slice_features(
    picture: NDArray[Any],
    model: Model,
    *,
    spacing: Sequence[float] | None = None,
    rgb: bool = False,
    device: str = "auto",
    cancel: Callable[[], bool] | None = None,
) -> SliceFeatures:
    """Compute the features of one slice.

    The slice is seen by itself, whatever its axis: a network that takes neighbouring
    slices gets this one in their place.

    Parameters
    ----------
    picture : ndarray, shape (Y, X) or (Y, X, colours)
        The slice, in display order.
    model : Model
        Whose network.
    spacing : sequence of two float, mm, optional
        Pixel size, for a network that works at one.
    rgb : bool
        Whether the last axis is colour.
    device : str
        As for `segment`.
    cancel : callable, optional
        Asked before each window; True ends it.

    Returns
    -------
    SliceFeatures

    Raises
    ------
    CancelledError
        If `cancel` said so.
    CheckpointError
        If the model segments nothing.
    DeviceError
        If the GPU has not enough memory.
    ImageError
        If the network takes other channels, or no value is finite.
    """
    card = model.card
    if card.task != "segmentation":
        raise CheckpointError(
            f"{card.name} restores images and knows no classes; choose another model."
        )
    shape = (int(picture.shape[0]), int(picture.shape[1]))
    check_channels(Image(picture, Geometry.plain(shape), rgb, "slice"), card)
    working = _working(shape, spacing, card)
    grid = window_grid(working, card.patch_size, _OVERLAP)
    source = PlanarSource(
        picture,
        stack=False,
        rgb=rgb,
        scale=fit_intensity(card.intensity, picture, planes=False),
        rows=triangle_taps(shape[0], working[0]),
        columns=triangle_taps(shape[1], working[1]),
        channels=card.network_channels,
        standard=standard_of(card),
    )
    place = choose_device(device).device
    places: list[tuple[int, int]] = []
    found: list[tuple[Tensor, dict[int, Tensor]]] = []
    try:
        with evaluating(model.network), torch.inference_mode():
            model.network.to(place)
            for row, band in bands_of_plane(source, 0, grid):
                for column, window in windows_of_band(band, grid):
                    if cancel is not None and cancel():
                        raise CancelledError("The features were not wanted any more.")
                    places.append((row, column))
                    found.append(_look(model.network, window[None].to(place)))
            ring = Ring(grid, len(card.output_values) + _shorten(found))
            rows = []
            for where, (logits, maps) in zip(places, found, strict=True):
                wide = [
                    F.interpolate(one[None], size=logits.shape[-2:], mode="bilinear")[0]
                    for one in maps.values()
                ]
                ready = ring.add(where, torch.cat([logits, *wide]))
                if ready is not None:
                    rows.append(ring.take(*ready).clone())
            full = torch.cat(rows, dim=1)
            outputs = len(card.output_values)
            decision = Decision(card, interpolated=True, inside=False)
            each = decision.probabilities(decision.scores(full[:outputs]))
            odds = torch.logit(each.double(), 1e-7).float()
            full = torch.cat([odds, full[outputs:]])
            full = resample(full, triangle_taps(working[0], shape[0]), 1)
            full = resample(full, triangle_taps(working[1], shape[1]), 2)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "The GPU ran out of memory; close other programs that use it, or choose "
            "cpu."
        ) from error
    values = tuple(sorted(set(card.output_values)))
    result = full.cpu().numpy()
    return SliceFeatures(
        maps=result[len(values) :].astype(np.float16),
        odds=np.clip(result[: len(values)], -_LARGEST, _LARGEST).astype(np.float16),
        values=values,
    )


def _working(
    shape: tuple[int, int], spacing: Sequence[float] | None, card: ModelCard
) -> tuple[int, int]:
    """Points of the grid that the network works on."""
    if card.magnification != 1:
        ratios = (card.magnification, card.magnification)
    elif card.spacing is None or spacing is None:
        return shape
    else:
        row, column = (s / w for s, w in zip(spacing, card.spacing[-2:], strict=True))
        ratios = (row, column)
    return scaled_points(shape[0], ratios[0]), scaled_points(shape[1], ratios[1])


def _look(network: nn.Module, window: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """Run a network and keep, per stride, the last map that it made on its way."""
    height, width = window.shape[-2:]
    maps: dict[int, Tensor] = {}

    def keep(_module: Any, _given: Any, made: Any) -> None:
        for one in made if isinstance(made, (tuple, list)) else (made,):
            if not isinstance(one, torch.Tensor) or one.ndim != 4:
                continue
            for stride in _STRIDES:
                near = (-(-height // stride), -(-width // stride))
                if one.shape[-2:] == near and one.shape[1] >= _FEWEST:
                    maps[stride] = one[0].float()

    with _hooks(network, keep):
        logits = network(window)
    return logits[0].float(), dict(sorted(maps.items()))


@contextlib.contextmanager
def _hooks(network: nn.Module, hook: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    handles = [m.register_forward_hook(hook) for m in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shorten(found: list[tuple[Tensor, dict[int, Tensor]]]) -> int:
    """Replace maps by their principal components over all windows; return how many."""
    count = 0
    for stride in found[0][1]:
        rows = torch.cat([maps[stride].flatten(1) for _, maps in found], dim=1)
        mean = rows.mean(1, keepdim=True)
        rows = (rows - mean).double()
        spread, axes = torch.linalg.eigh((rows @ rows.T / rows.shape[1]).cpu())
        keep = min(_KEPT, len(spread))
        # A component without any variance says nothing; it must not be blown up.
        strength = spread[-keep:].clamp(min=float(spread[-1]) * 1e-6 + 1e-12).sqrt()
        project = (axes[:, -keep:] / strength).T.flip(0).float().to(mean.device)
        for _, maps in found:
            one = maps[stride]
            flat = project @ (one.flatten(1) - mean)
            maps[stride] = flat.reshape(keep, *one.shape[1:])
        count += keep
    return count
