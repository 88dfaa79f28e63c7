"""One function from an image to its mask."""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import (
    CancelledError,
    CheckpointError,
    ImageError,
)
from napari_medurwkv.inference.checks import check_image, check_out
from napari_medurwkv.inference.decide import label_dtype
from napari_medurwkv.inference.device import choose_device
from napari_medurwkv.inference.foresight import refuse_what_cannot_fit
from napari_medurwkv.inference.keep import disagreement
from napari_medurwkv.inference.plan import make_plan, make_rule
from napari_medurwkv.inference.predictor import MIRRORED, Predictor, evaluating
from napari_medurwkv.inference.probabilities import (
    Probabilities,
    new_cache_path,
    write_probabilities,
)
from napari_medurwkv.inference.record import RunFacts, make_record
from napari_medurwkv.inference.result import Progress, Segmentation
from napari_medurwkv.inference.run import Extras, Run
from napari_medurwkv.inference.uncertainty import Uncertainty
from napari_medurwkv.inference.view_names import view_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import Model
    from napari_medurwkv.io import Image
    from napari_medurwkv.provenance import InputRecord

__all__ = ["as_image", "as_model", "segment"]


def segment(
    image: Image | NDArray[Any] | Sequence[Any] | str | Path,
    model: Model | str | Path,
    *,
    device: str = "auto",
    overlap: float | None = None,
    instances: bool = False,
    tta: bool = False,
    frame: int | None = None,
    region: tuple[slice, ...] | None = None,
    views: Sequence[str | int] | None = None,
    compiled: bool | str = False,
    keep_probabilities: bool | str | Path = False,
    uncertainty: Any = False,
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
    tta : bool
        Test-time augmentation: average each window over its four mirror images.
    frame : int, optional
        Which frame of a 4D file.
    region : tuple of slice, optional
        Part of the image, one slice per display axis. The mask is there what it is
        without `region`, but only the windows that reach into it are computed; the
        rest of the mask is 0.
    views : sequence of str or int, optional
        3D cards: how slices are cut, "axial", "coronal", "sagittal" or display axes;
        the probabilities of several views are averaged. The card's by default.
    compiled : bool or str
        Whether `torch.compile` prepares the network, which takes a minute or so and is
        done once per program; or the backend for it. Where it cannot, the record says
        so.
    keep_probabilities : bool, str or Path
        Keep the probabilities in a file, from which the mask can be decided again (see
        `redecide`). True: in the user's cache folder, as long as the result lives. A
        path: there, for good.
    uncertainty : bool or array-like of uint8
        Whether the result says how unsure the network was; an array of shape (1 or,
        with `tta`, 2, *display shape) is filled.
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
    picture = as_image(image, frame)
    loaded = as_model(model)
    card = loaded.card
    if card.task != "segmentation":
        raise CheckpointError(
            f"{card.name} restores images and segments nothing: use 'medurwkv denoise'."
        )
    check_image(picture, card)
    if instances and card.instances is None:
        raise CheckpointError(
            f"{card.name} cannot separate objects; run it without instances, or choose "
            "a model that can."
        )
    chosen_overlap = card.overlap if overlap is None else overlap
    axes = view_axes(views, card)
    plans = [
        make_plan(picture.geometry, card, chosen_overlap, region, axis)
        for axis in axes or (None,)
    ]
    choice = choose_device(device)
    for plan in plans:
        refuse_what_cannot_fit(
            plan, loaded, device=choice.device, instances=instances, mask=out is None
        )
    shape = tuple(picture.geometry.display_shape)
    dtype = np.dtype(np.int32) if instances else label_dtype(card)
    labels = np.zeros(shape, dtype) if out is None else check_out(out, shape, dtype)
    if out is not None:
        labels[...] = 0
    doubts = _uncertainty_array(uncertainty, shape, tta)

    run = Run(plans, labels, loaded, clock, progress, cancel)
    run_id = uuid.uuid4().hex
    describe = _Describing(picture, at_once=choice.device.startswith("cuda"))
    with contextlib.ExitStack() as stack:
        kept, path = None, None
        about: dict[str, Any] = {}
        if keep_probabilities:
            path = _probabilities_path(keep_probabilities)
            rule = make_rule(run_id, plans[-1], card, shape, instances=instances)
            kept = stack.enter_context(write_probabilities(path, rule, about))
        stack.enter_context(evaluating(loaded.network))
        spread = None
        if tta and doubts is not None:
            spread = partial(disagreement, softmax=card.activation == "softmax")
        predictor = Predictor(
            loaded.network,
            choice,
            len(card.output_values),
            MIRRORED if tta else ((),),
            expected=run.windows,
            spread=spread,
            compiled=compiled,
        )
        extras = Extras(kept, doubts, disagreement=spread is not None)
        complete = run.work(picture, predictor, instances, extras)
        if not complete and not keep_partial:
            raise CancelledError(
                f"The segmentation was cancelled after {run.done} of {run.windows} "
                "windows."
            )
        del extras, kept
        facts = RunFacts(
            run_id=run_id,
            input=describe.result(complete=complete),
            model=loaded,
            plan=plans[-1],
            axes=axes,
            windows=run.windows,
            choice=choice,
            predictor=predictor,
            overlap=chosen_overlap,
            instances=instances,
            tta=tta,
            complete=complete,
            fraction=run.done / run.windows,
            started=started,
            seconds=time.perf_counter() - clock,
            doubts=run.doubts,
        )
        record = make_record(facts)
        about["classes"] = [info.model_dump(mode="json") for info in card.classes]
        about["record"] = record.model_dump(mode="json")
    probabilities = None
    if path is not None and not complete:
        path.unlink()  # what is missing would pass for background
    elif path is not None:
        probabilities = Probabilities(
            path, run_id, temporary=keep_probabilities is True
        )
    return Segmentation(
        labels=labels,
        geometry=picture.geometry,
        classes=card.classes,
        instances=instances,
        complete=complete,
        fraction=facts.fraction,
        record=record,
        probabilities=probabilities,
        uncertainty=None
        if doubts is None
        else Uncertainty(doubts[0], doubts[1] if tta else None),
    )


def _uncertainty_array(wanted: Any, shape: tuple[int, ...], tta: bool) -> Any:
    """Return what uncertainty is written into; None where nobody wants it."""
    if wanted is None or wanted is False:
        return None
    full = (2 if tta else 1, *shape)
    if wanted is True:
        return np.zeros(full, np.uint8)
    array = check_out(wanted, full, np.dtype(np.uint8))
    array[...] = 0
    return array


def _probabilities_path(wanted: bool | str | Path) -> Path:
    if isinstance(wanted, bool):
        return new_cache_path()
    return Path(wanted)


class _Describing:
    """Describes the input, which takes its fingerprint; beside the work of a GPU.

    What is lazy is read for it at the end, and not at all for a run that was cancelled:
    that could take longer than the run.
    """

    def __init__(self, image: Image, *, at_once: bool) -> None:
        from napari_medurwkv.io import LazyArray
        from napari_medurwkv.provenance import InputRecord

        self._of: Callable[..., InputRecord] = InputRecord.of
        self._image = image
        self._lazy = isinstance(image.array, LazyArray)
        self._found: InputRecord | None = None
        self._thread: threading.Thread | None = None
        if at_once and not self._lazy:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def _work(self) -> None:
        self._found = self._of(self._image)

    def result(self, *, complete: bool) -> InputRecord:
        if self._thread is not None:
            self._thread.join()
        # What went wrong in the thread goes wrong again here, where it is heard.
        return self._found or self._of(self._image, values=complete or not self._lazy)


def as_image(
    image: Image | NDArray[Any] | Sequence[Any] | str | Path, frame: int | None
) -> Image:
    """Read what was given as a path, and wrap what was given as an array."""
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


def as_model(model: Model | str | Path) -> Model:
    """Load what was given as a name or path."""
    if isinstance(model, (str, Path)):
        from napari_medurwkv.checkpoints import load_model

        return load_model(model)
    return model
