"""One image of a batch, from its file to its mask, in whatever process does it."""

from __future__ import annotations

import functools
import os
import shutil
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import CancelledError, MedurwkvError, OutputError
from napari_medurwkv.inference.worklist import Entry
from napari_medurwkv.io import LazyArray, Output
from napari_medurwkv.io.pyramid_mask import STEP, PyramidMask

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medurwkv.inference.result import Segmentation
    from napari_medurwkv.inference.worklist import Item
    from napari_medurwkv.io import Image

__all__ = ["Options", "do_item", "read_item"]


_ONE_AT_A_TIME = threading.Lock()
"""The workers of a cluster may have several threads; the network is one."""


@dataclass(frozen=True, slots=True)
class Options:
    """How all images of a batch are segmented.

    Attributes
    ----------
    model : str or None
        Name or path; by default the one made for images of the dimensions.
    device, overlap, instances, tta
        As for `napari_medurwkv.segment`.
    """

    model: str | None = None
    device: str = "auto"
    overlap: float | None = None
    instances: bool = False
    tta: bool = False


def read_item(item: Item) -> Image | MedurwkvError:
    """Read an image; what is wrong with it is returned, not raised."""
    from napari_medurwkv.io import read_image

    try:
        return read_image(item.image, frame=item.frame)
    except MedurwkvError as error:
        return error


def do_item(
    item: Item,
    options: Options,
    image: Image | MedurwkvError | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Entry:
    """Segment one image and write its mask and record.

    Parameters
    ----------
    item : Item
        What and where.
    options : Options
        How.
    image : Image or MedurwkvError, optional
        From `read_item`, if it has been read ahead.
    cancel : callable, optional
        As for `segment`.

    Returns
    -------
    Entry
        With the sentence, where it failed for a reason that concerns this image.

    Raises
    ------
    CancelledError
        If `cancel` said so.
    """
    begun = time.perf_counter()
    try:
        if image is None:
            image = read_item(item)
        if isinstance(image, MedurwkvError):
            raise image
        with _ONE_AT_A_TIME:
            return _segment(item, options, image, cancel, begun)
    except CancelledError:
        raise
    except MedurwkvError as error:
        seconds = time.perf_counter() - begun
        return Entry(item.image, item.frame, "failed", str(error), seconds=seconds)
    except MemoryError:
        reason = "There was not enough memory; use fewer workers or crop the image."
        seconds = time.perf_counter() - begun
        return Entry(item.image, item.frame, "failed", reason, seconds=seconds)


def _segment(
    item: Item,
    options: Options,
    image: Image,
    cancel: Callable[[], bool] | None,
    begun: float,
) -> Entry:
    from napari_medurwkv.checkpoints import default_for
    from napari_medurwkv.inference.decide import label_dtype
    from napari_medurwkv.inference.segmentation import segment

    name = item.model or options.model
    if name is None:
        name = str(default_for(image.geometry.ndim, image.rgb).path)
    target = _target(item, image, instances=options.instances)
    model = _load(name)
    large = isinstance(image.array, LazyArray) and not options.instances
    out = None
    if large and target.name.endswith(".zarr"):
        # A mask of an image that is larger than memory does not go through memory.
        out = PyramidMask.create(
            target.parent / f".tmp-{os.getpid()}-{uuid.uuid4().hex}",
            tuple(image.geometry.display_shape),
            label_dtype(model.card),
        )
    try:
        result = segment(
            image,
            model,
            device=options.device,
            overlap=options.overlap,
            instances=options.instances,
            tta=options.tta,
            cancel=cancel,
            out=out,
        )
        measures = _measure(result)  # before a mask on the disk is moved
        mask = _write(target, result)
    except BaseException:
        if out is not None:
            out.remove()
        raise
    return Entry(
        item.image,
        item.frame,
        "done",
        mask=str(mask),
        model=result.record.model.name,
        seconds=time.perf_counter() - begun,
        measures=measures,
    )


@functools.lru_cache(maxsize=1)
def _load(name: str) -> Any:
    """Load a model once per process; the last one is kept."""
    from napari_medurwkv.checkpoints import load_model

    return load_model(name)


def _target(item: Item, image: Image, *, instances: bool) -> Path:
    """Say where the mask goes; its folder is made."""
    source = image.geometry.source.format
    ending = ".nii.gz"
    if source in ("png", "jpeg", "tiff"):
        plain = image.geometry.ndim == 2 and not instances
        ending = ".png" if plain else ".tif"
    elif source == "zarr":
        ending = ".ome.zarr"
    target = Path(item.mask + ending)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {target.parent} cannot be made ({error.strerror}); choose "
            "another one."
        ) from error
    return target


def _write(target: Path, result: Segmentation) -> Path:
    from napari_medurwkv.io.safe_write import text_output, write_all_safely
    from napari_medurwkv.io.write import labels_output
    from napari_medurwkv.provenance import is_record, record_path, record_text

    record = record_path(target)
    if record.exists() and not is_record(record):
        raise OutputError(
            f"{record} is no record of this plugin, so it is not replaced; choose "
            "another folder."
        )
    if target.name.endswith(".zarr"):
        output = _zarr_output(target, result)
    else:
        output = labels_output(
            target,
            result.labels,
            result.geometry,
            classes=() if result.instances else result.classes,
        )
    outputs = [output, text_output(record, record_text(result.record))]
    # Ours to replace: the worklist says that this mask is not done.
    write_all_safely(outputs, overwrite=True)
    return target


def _zarr_output(target: Path, result: Segmentation) -> Output:
    from napari_medurwkv.export import ExportMask
    from napari_medurwkv.export.zarr_labels import pyramid_attributes, zarr_output

    pyramid = result.labels if isinstance(result.labels, PyramidMask) else None
    labels = result.labels
    if pyramid is not None:
        labels = np.broadcast_to(np.zeros((), pyramid.dtype), pyramid.shape)
    mask = ExportMask(
        labels,
        result.geometry,
        result.classes,
        instances=result.instances,
        record=result.record,
        changed=0,
    )
    if pyramid is None:
        return zarr_output(mask, target)
    steps = (*(1,) * (pyramid.ndim - 2), STEP, STEP)
    pyramid.describe(pyramid_attributes(mask, [steps] * len(pyramid.levels)))

    def write(part: Path) -> None:
        shutil.rmtree(part, ignore_errors=True)
        shutil.move(pyramid.folder, part)

    def check(part: Path) -> None:
        if PyramidMask(part).shape != pyramid.shape:
            raise OutputError(f"{target} did not come back from the disk as written.")

    return Output(target, write, check, folder=True)


def _measure(result: Segmentation) -> tuple[dict[str, Any], ...]:
    from napari_medurwkv.measure import class_measures, object_measure

    if result.instances:
        kind = next(info for info in result.classes if info.value != 0)
        found = [object_measure(result.labels, result.geometry, kind)]
    else:
        found = list(class_measures(result.labels, result.geometry, result.classes))
    kept = ("value", "name", "voxels", "size", "unit", "components")
    return tuple({key: asdict(m)[key] for key in kept} for m in found)
