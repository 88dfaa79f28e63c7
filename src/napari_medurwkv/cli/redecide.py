"""``medurwkv redecide``: another mask from kept probabilities, without the model."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_medurwkv.cli.options import (
    AsJson,  # noqa: TC001 - typer reads the annotations
    Overwrite,  # noqa: TC001
)
from napari_medurwkv.cli.results import measure_result, save_mask, show_result
from napari_medurwkv.cli.streams import only_results_on_stdout
from napari_medurwkv.cli.targets import check_mask_target, check_record_target
from napari_medurwkv.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.inference.probabilities import Probabilities
    from napari_medurwkv.io import Image
    from napari_medurwkv.provenance import RunRecord

__all__ = ["redecide"]


def redecide(
    image: Annotated[
        Path, typer.Argument(help="The image that was segmented.", metavar="IMAGE")
    ],
    probabilities: Annotated[
        Path,
        typer.Argument(
            help="What `medurwkv segment --keep-probabilities` kept of it.",
            metavar="PROBABILITIES",
        ),
    ],
    mask: Annotated[
        Path,
        typer.Argument(help="Mask to write, as for `segment`.", metavar="OUTPUT"),
    ],
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Foreground is where its probability exceeds this, 0 to 1; by default "
            "the model's own rule holds."
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            help="Factor on the odds of a class, by its name or value; as often as "
            "wanted.",
            metavar="CLASS=FACTOR",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Above 1, the model counts as less sure of itself.")
    ] = 1.0,
    frame: Annotated[
        int | None, typer.Option(help="Which frame of a 4D image, from 0.")
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(help="Which image of a DICOM folder.", metavar="NUMBER|UID"),
    ] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="As for `segment`.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Decide a mask again from kept probabilities, without the model."""
    import numpy as np

    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.inference.probabilities import Probabilities
    from napari_medurwkv.inference.redecide import Settings
    from napari_medurwkv.inference.redecide import redecide as decide
    from napari_medurwkv.inference.result import Segmentation
    from napari_medurwkv.io import read_image
    from napari_medurwkv.provenance import RunRecord, record_path

    with only_results_on_stdout():
        check_record_target(record_path(mask), overwrite=overwrite)
        kept = Probabilities(probabilities)
        rule = kept.rule
        check_mask_target(mask, len(rule.shape), overwrite=overwrite)
        classes = tuple(ClassInfo.model_validate(c) for c in kept.about["classes"])
        record = RunRecord.model_validate(kept.about["record"])
        weights = _weights(weight or (), classes)
        settings = Settings(threshold, weights, temperature)
        picture = read_image(image, frame=frame, series=series, approximate=approximate)
        _compare(picture, kept, record)
        objects = rule.instances is not None
        dtype: Any = np.uint8 if max(rule.values) <= 255 else np.uint16
        labels = np.zeros(rule.shape, np.int32 if objects else dtype)
        decide(kept, settings, labels)
        parameters = dict(record.parameters)
        if not settings.neutral:
            parameters["decided_by"] = settings.to_json()
        result = Segmentation(
            labels=labels,
            geometry=picture.geometry,
            classes=classes,
            instances=objects,
            complete=True,
            fraction=1.0,
            record=record.model_copy(update={"parameters": parameters}),
        )
        save_mask(result, mask, overwrite=overwrite)
        measures = measure_result(result)
    show_result(result, picture, mask, measures, as_json=as_json)


def _weights(options: Sequence[str], classes: Sequence[ClassInfo]) -> dict[int, float]:
    """Read CLASS=FACTOR."""
    known = {str(info.value): info.value for info in classes}
    known |= {info.name: info.value for info in classes}
    weights = {}
    for option in options:
        name, equals, factor = option.rpartition("=")
        if name not in known or not equals:
            names = ", ".join(info.name for info in classes)
            raise ImageError(
                f"{option} is no weight: write CLASS=FACTOR, with a class of {names}."
            )
        try:
            weights[known[name]] = float(factor)
        except ValueError:
            raise ImageError(f"{option} is no weight: {factor} is no number.") from None
    return weights


def _compare(picture: Image, kept: Probabilities, record: RunRecord) -> None:
    """Refuse an image that the probabilities are not of."""
    from napari_medurwkv.io import source_sha256
    from napari_medurwkv.provenance import array_sha256

    found = (
        source_sha256(picture.geometry.source)
        if record.input.sha256_of == "file"
        else array_sha256(picture.array)
    )
    same_frame = picture.geometry.source.frame == record.input.frame
    same_grid = tuple(picture.geometry.display_shape) == kept.rule.shape
    if found != record.input.sha256 or not same_frame or not same_grid:
        raise ImageError(
            f"{kept.path.name} holds the probabilities of another image than "
            f"{picture.name}: give the image that was segmented."
        )
