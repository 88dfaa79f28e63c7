"""One function from an image to its mask."""

from __future__ import annotations

import datetime
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medurwkv.errors import (
    CancelledError,
    CheckpointError,
    DeviceError,
    ImageError,
)
from napari_medurwkv.inference.checks import check_image, check_out
from napari_medurwkv.inference.decide import Decision, label_dtype
from napari_medurwkv.inference.device import choose_device
from napari_medurwkv.inference.intensity import fit_intensity
from napari_medurwkv.inference.plan import make_plan
from napari_medurwkv.inference.predictor import Predictor, evaluating
from napari_medurwkv.inference.record import RunFacts, make_record
from napari_medurwkv.inference.result import Progress, Segmentation
from napari_medurwkv.inference.ring import Ring, add_window
from napari_medurwkv.inference.sinks import InstanceWriter, LabelWriter, MaskPlanes
from napari_medurwkv.inference.slices import windows_of_plane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.inference.plan import Plan
    from napari_medurwkv.inference.sinks import Region, Writer
    from napari_medurwkv.io import Image

__all__ = ["segment"]


def segment(
    image: Image | NDArray[Any] | Sequence[Any] | str | Path,
    model: Model | str | Path,
    *,
    device: str = "auto",
    overlap: float | None = None,
    instances: bool = False,
    frame: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    keep_partial: bool = False,
    out: Any = None,
) -> Segmentation:
    """Segment an image.

    A 2D model on a 3D stack works slice by slice, with one set of intensity limits for
    the whole stack. The same image, checkpoint and overlap give the same mask, bit for
    bit, on one CPU; a GPU may differ at single voxels.

    Parameters
    ----------
    image : Image, array-like or path
        What to segment. A bare array is taken as it lies: display order, no spacing. A
        zarr or dask array, a memory map or a sequence of arrays (a pyramid, finest
        first) is read in parts and never held as a whole.
    model : Model, str or Path
        A loaded model, the name of an embedded one, or the path of a checkpoint. A
        model's network stays on the device that it ran on.
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    overlap : float, optional
        Of neighbouring windows, 0 to 0.95; the card's by default.
    instances : bool
        Number single objects instead of naming classes.
    frame : int, optional
        Which frame of a 4D file.
    progress : callable, optional
        Called with a `Progress` after each window.
    cancel : callable, optional
        Asked before each window; True ends the run.
    keep_partial : bool
        Return what is final when cancelled, instead of raising.
    out : array-like, optional
        Labels array in display order, filled as regions become final: uint8 (uint16
        beyond 255 classes), int32 with `instances`; a NumPy or zarr array. A new one
        by default.

    Returns
    -------
    Segmentation

    Raises
    ------
    CancelledError
        If `cancel` said so and `keep_partial` is False.
    ImageError, CheckpointError, DeviceError, GeometryError, OutputError
        If something does not fit; the message says what.
    MedurwkvError
        If the network's output is not finite, or memory ran out.
    """
    started = datetime.datetime.now(datetime.UTC)
    clock = time.perf_counter()
    picture = _as_image(image, frame)
    loaded = _as_model(model)
    card = loaded.card
    check_image(picture, card)
    if instances and card.instances is None:
        raise CheckpointError(
            f"{card.name} cannot separate objects; run it without instances, or choose "
            "a model that can."
        )
    chosen_overlap = card.overlap if overlap is None else overlap
    plan = make_plan(picture.geometry, card, chosen_overlap)
    shape = tuple(picture.geometry.display_shape)
    dtype = np.dtype(np.int32) if instances else label_dtype(card)
    labels = np.zeros(shape, dtype) if out is None else check_out(out, shape, dtype)
    if out is not None:
        labels[...] = 0
    choice = choose_device(device)

    run = _Run(plan, labels, loaded, clock, progress, cancel)
    with evaluating(loaded.network):
        predictor = Predictor(loaded.network, choice, len(card.output_values))
        complete = run.work(picture, predictor, instances)
    if not complete and not keep_partial:
        raise CancelledError(
            f"The segmentation was cancelled after {run.done} of {plan.windows} "
            "windows."
        )
    facts = RunFacts(
        image=picture,
        model=loaded,
        plan=plan,
        choice=choice,
        predictor=predictor,
        overlap=chosen_overlap,
        instances=instances,
        complete=complete,
        fraction=run.done / plan.windows,
        started=started,
        seconds=time.perf_counter() - clock,
    )
    return Segmentation(
        labels=labels,
        geometry=picture.geometry,
        classes=card.classes,
        instances=instances,
        complete=complete,
        fraction=facts.fraction,
        record=make_record(facts),
    )


def _as_image(
    image: Image | NDArray[Any] | Sequence[Any] | str | Path, frame: int | None
) -> Image:
    from napari_medurwkv.io import (
        Image,
        image_from_array,
        lazy_image,
        read_image,
        source_sha256,
    )

    if isinstance(image, (str, Path)):
        picture = read_image(image, frame=frame)
        origin = picture.geometry.source
        source = replace(origin, sha256=source_sha256(origin))
        return replace(picture, geometry=replace(picture.geometry, source=source))
    if frame is not None:
        raise ImageError("A frame can be chosen from a file only; pass that frame.")
    if isinstance(image, Image):
        return image
    if isinstance(image, np.ndarray) and not isinstance(image, np.memmap):
        return image_from_array(image)
    return lazy_image(image)


def _as_model(model: Model | str | Path) -> Model:
    if isinstance(model, (str, Path)):
        from napari_medurwkv.checkpoints import load_model

        return load_model(model)
    return model


class _CancelledEarlyError(Exception):
    """Cancelled before the first window."""


class _Run:
    """One run under way: counts windows, asks for cancellation, tells progress."""

    def __init__(
        self,
        plan: Plan,
        labels: Any,
        model: Model,
        clock: float,
        progress: Callable[[Progress], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self.done = 0
        self._plan = plan
        self._labels = labels
        self._model = model
        self._clock = clock
        self._progress = progress
        self._cancel = cancel or (lambda: False)

    def work(self, image: Image, predictor: Predictor, instances: bool) -> bool:
        """Compute all windows; return whether none is missing."""
        card, plan = self._model.card, self._plan
        try:
            scale = fit_intensity(
                card.intensity,
                plan.image_array(image),
                planes=plan.axis is not None,
                check=self._check,
            )
        except _CancelledEarlyError:
            return False
        source = plan.source(image, card, scale)
        decision = Decision(card, interpolated=plan.resampled, inside=instances)
        writer = self._writer(decision, instances)
        sink = plan.sink(writer)
        ring = Ring(plan.grid, len(card.output_values))
        values = None if plan.resampled else decision.direct

        windows = (
            (plane, *window)
            for plane in plan.planes
            for window in windows_of_plane(
                source, plane, plan.grid, lambda: predictor.device
            )
        )
        try:
            with torch.inference_mode():
                for batch in self._batches(windows, predictor):
                    logits = predictor([window for *_, window in batch])
                    for (plane, row, column, _), one in zip(batch, logits, strict=True):
                        ready = add_window(ring, predictor, (row, column), one)
                        final: list[Region] = []
                        if ready is None:
                            pass
                        elif values is not None and isinstance(writer, LabelWriter):
                            labels = ring.labels(*ready, values)
                            final = writer.write_labels(plane, *ready, labels)
                        else:
                            scores = decision.scores(ring.take(*ready))
                            final = sink.put(plane, *ready, scores)
                        self.done += 1
                        self._tell(final)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                "The GPU ran out of memory beside the network; close other programs "
                "that use it, or choose cpu."
            ) from error
        if self.done < plan.windows:
            final = writer.finish()
            if final:
                self._tell(final)
            return False
        return True

    def _writer(self, decision: Decision, instances: bool) -> Writer:
        out = MaskPlanes(self._labels, self._plan.axis)
        recipe = self._model.card.instances
        if instances and recipe is not None:
            return InstanceWriter(out, decision, recipe)
        return LabelWriter(out, decision)

    def _batches(
        self, windows: Iterator[tuple[int, int, int, Tensor]], predictor: Predictor
    ) -> Iterator[list[tuple[int, int, int, Tensor]]]:
        """Group windows; stop at once when the run is cancelled."""
        batch: list[tuple[int, int, int, Tensor]] = []
        while True:
            if self._cancel():
                return
            window = next(windows, None)
            if window is not None:
                batch.append(window)
            full = len(batch) >= predictor.windows_at_once
            if batch and (window is None or full):
                yield batch
                batch = []
            if window is None:
                return

    def _check(self) -> None:
        if self._cancel():
            raise _CancelledEarlyError

    def _tell(self, final: list[Region]) -> None:
        if self._progress is None:
            return
        seconds = time.perf_counter() - self._clock
        regions = [self._plan.display_region(r) for r in final]
        for region in regions or (None,):
            self._progress(Progress(self.done, self._plan.windows, region, seconds))
