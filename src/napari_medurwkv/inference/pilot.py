"""A short piece of a run, done to see how long the rest will take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.inference.decide import label_dtype
from napari_medurwkv.inference.plan import make_plan
from napari_medurwkv.inference.run import Run

if TYPE_CHECKING:
    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.predictor import Predictor
    from napari_medurwkv.io import Image

__all__ = ["seconds_per_plane"]

FEW, MORE = 8, 24
"""Slices of the image in the two pieces: what begins and ends a run drops out."""


def seconds_per_plane(
    image: Image,
    model: Model,
    plan: Plan,
    predictor: Predictor,
    *,
    overlap: float,
    instances: bool,
) -> float | None:
    """Time two pieces of a run, as the run would do them: reading beside computing.

    Parameters
    ----------
    image, model, plan, predictor, overlap, instances
        Of the run.

    Returns
    -------
    float or None
        Seconds per working plane; None where there are too few slices for it.
    """
    axis = plan.axis
    if axis is None or plan.native[0] < 2 * MORE or not plan.whole:
        return None
    shape = tuple(image.geometry.display_shape)
    # Of zeros that nobody touches, a system takes no memory.
    labels = np.zeros(shape, np.int32 if instances else label_dtype(model.card))
    middle = (plan.native[0] - MORE) // 2
    found: list[tuple[int, float]] = []
    for count in (FEW, FEW, MORE):  # the first one loads what the others only use
        region: list[Any] = [slice(None)] * len(shape)
        region[axis] = slice(middle, middle + count)
        piece = make_plan(image.geometry, model.card, overlap, tuple(region), axis)
        begun = time.perf_counter()
        run = Run([piece], labels, model, begun, None, None)
        run.work(image, predictor, instances)
        found.append((len(piece.planes), time.perf_counter() - begun))
    (few, short), (more, long) = found[1:]
    if more <= few or long <= short:
        return long / max(1, more)
    return (long - short) / (more - few)
