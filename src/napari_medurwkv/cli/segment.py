"""``medurwkv segment``: one image in, one mask out, with its record."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_medurwkv.cli.answers import say_assumed
from napari_medurwkv.cli.frames import read_frame, segment_frames
from napari_medurwkv.cli.further_files import (
    check_further,
    check_no_further,
    read_views,
    write_uncertainty,
)
from napari_medurwkv.cli.options import (
    AsJson,  # noqa: TC001 - typer reads the annotations
    Device,  # noqa: TC001
    Instances,  # noqa: TC001
    ModelName,  # noqa: TC001
    Overlap,  # noqa: TC001
    Overwrite,  # noqa: TC001
    Tta,  # noqa: TC001
)
from napari_medurwkv.cli.results import (
    describe_result,
    measure_result,
    save_mask,
    show_result,
    size_text,
)
from napari_medurwkv.cli.streams import (
    cancel_on_interrupt,
    only_results_on_stdout,
    progress_bar,
    say,
    show_json,
)
from napari_medurwkv.cli.targets import (
    check_mask_target,
    check_record_target,
    check_target,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medurwkv.inference import Segmentation
    from napari_medurwkv.inference.forecast import Foresight
    from napari_medurwkv.io import Image

__all__ = ["describe_result", "measure_result", "run_and_save", "segment", "size_text"]


def segment(
    image: Annotated[
        Path,
        typer.Argument(
            help="NIfTI, NRRD, MetaImage, MGH, DICOM (a file or a folder), PNG, JPEG "
            "or TIFF.",
            metavar="INPUT",
        ),
    ],
    mask: Annotated[
        Path,
        typer.Argument(
            help="Mask to write: .nii.gz, .nii, .seg.nrrd, .dcm, .tif, .ome.tif, "
            ".ome.zarr or, in 2D, .png.",
            metavar="OUTPUT",
        ),
    ],
    model: ModelName = None,
    device: Device = "auto",
    overlap: Overlap = None,
    instances: Instances = False,
    tta: Tta = False,
    views: Annotated[
        str | None,
        typer.Option(
            help="How 3D images are cut into slices: axial, coronal, sagittal, several "
            "with commas between them, or all; their probabilities are averaged. By "
            "default as the model's card says.",
            metavar="VIEWS",
        ),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            help="Also write how unsure the network is of each voxel, 0 to 1, as "
            ".nii.gz or .nii; with --tta, a second file says how far mirror images "
            "disagree.",
            metavar="PATH",
        ),
    ] = None,
    keep_probabilities: Annotated[
        Path | None,
        typer.Option(
            help="Also keep the probabilities of all classes, 8 bits each, from which "
            "`medurwkv redecide` makes masks by other thresholds.",
            metavar="PATH",
        ),
    ] = None,
    forecast: Annotated[
        bool,
        typer.Option(
            "--forecast", help="Only tell how long it would take and how much memory."
        ),
    ] = False,
    frame: Annotated[
        str | None,
        typer.Option(
            help="Which frame of a series, from 0; or all, into one file with an axis "
            "of time (.nii.gz, .nii, .tif).",
            metavar="NUMBER|all",
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            help="What the axes of a TIFF file are, where it does not say it itself: "
            "such as TCZYX for time, channel, slice, row, column.",
            metavar="LETTERS",
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Which channels of a TIFF file or OME-Zarr, from 0, in the order of "
            "the model's: such as 1, or 2,0,1.",
            metavar="NUMBERS",
        ),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Prepare the network with torch.compile; takes a minute, and pays for "
            "large images.",
        ),
    ] = False,
    series: Annotated[
        str | None,
        typer.Option(
            help="Which image of a DICOM folder: its number in the list that is shown "
            "without this option, or its series instance UID.",
            metavar="NUMBER|UID",
        ),
    ] = None,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="Take DICOM slices although some are missing, uneven or tilted; every "
            "file that is written says that the geometry is approximate.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Segment one image.

    A record of the run is written beside the mask, as .json.
    """
    from napari_medurwkv.checkpoints import default_for, find
    from napari_medurwkv.io import frame_count, read_image
    from napari_medurwkv.provenance import record_path

    with only_results_on_stdout():
        # What can be refused is refused before the work.
        check_target(mask, overwrite=overwrite)
        check_record_target(record_path(mask), overwrite=overwrite)
        everything = frame == "all"
        said: dict[str, Any] = {
            "series": series,
            "approximate": approximate,
            "axes": axes,
            "channels": channels,
        }
        number = 0 if everything else read_frame(frame)
        picture = read_image(image, frame=number, **said)
        dimensions = picture.geometry.ndim
        check_mask_target(mask, dimensions, overwrite=overwrite)
        check_further(uncertainty, keep_probabilities, tta=tta, overwrite=overwrite)
        entry = find(model) if model else default_for(dimensions, picture.rgb)
        say_assumed(entry.path)
        for note in picture.notes:
            say(f"Note: {note}")
        if forecast:
            told = _forecast(
                picture,
                entry.path,
                device=device,
                overlap=overlap,
                instances=instances,
                tta=tta,
                views=read_views(views),
            )
        if everything and not forecast:
            check_no_further(uncertainty, keep_probabilities)
            frames = segment_frames(
                frame_count(image, series=series, axes=axes, channels=channels),
                lambda k: read_image(image, frame=k, **said),
                entry.path,
                mask,
                overwrite=overwrite,
                device=device,
                overlap=overlap,
                instances=instances,
                tta=tta,
                views=read_views(views),
                compiled=compiled,
            )
    if everything and not forecast:
        facts = {"mask": str(mask), "frames": frames.total, "done": frames.finished}
        text = f"{frames.finished} of {frames.total} frames in {frames.seconds:.1f} s"
        show_json(facts) if as_json else say(f"{text}; wrote {mask}.")
        if frames.finished < frames.total:
            raise typer.Exit(130)
        return
    if forecast:
        text = f"{told.text} for {told.windows} windows, on {told.device}."
        show_json(asdict(told)) if as_json else say(text)
        return
    with only_results_on_stdout():
        result = run_and_save(
            picture,
            entry.path,
            mask,
            device=device,
            overlap=overlap,
            instances=instances,
            tta=tta,
            views=read_views(views),
            compiled=compiled,
            uncertainty=uncertainty,
            probabilities=keep_probabilities,
            overwrite=overwrite,
        )
        measures = measure_result(result)
    others = [path for path in (uncertainty, keep_probabilities) if path is not None]
    show_result(result, picture, mask, measures, others, as_json=as_json)


def _forecast(image: Image, model: Path, **options: Any) -> Foresight:
    """Compute a few windows and tell what the run would take."""
    from napari_medurwkv.checkpoints import load_model
    from napari_medurwkv.inference.foresight import foresee
    from napari_medurwkv.inference.memory import free_memory

    found = foresee(image, load_model(model), **options)
    # Raises where it would not fit.
    found.check(*free_memory("cuda" if found.device_bytes else "cpu"))
    return found


def run_and_save(
    image: Image,
    model: Path,
    mask: Path,
    *,
    device: str,
    overlap: float | None = None,
    instances: bool = False,
    tta: bool = False,
    views: Sequence[str] | None = None,
    compiled: bool = False,
    uncertainty: Path | None = None,
    probabilities: Path | None = None,
    overwrite: bool = False,
) -> Segmentation:
    """Segment, show progress, write mask and record.

    Ctrl+C stops within one window and nothing is written.

    Parameters
    ----------
    image : Image
        What to segment.
    model : Path
        Checkpoint.
    mask : Path
        File for the mask; the record goes beside it.
    device, overlap, instances, tta, views, compiled
        As for `napari_medurwkv.segment`.
    uncertainty : Path, optional
        NIfTI file for it; with `tta`, a second one beside it holds the disagreement.
    probabilities : Path, optional
        File for them; must not exist.
    overwrite : bool
        Whether an older mask and record may be replaced.

    Returns
    -------
    Segmentation
    """
    with progress_bar(image.name) as tell, cancel_on_interrupt() as cancelled:
        # Here, so that the bar is up and Ctrl+C is heard while torch loads.
        from napari_medurwkv.inference import segment as segment_image

        result = segment_image(
            image,
            model,
            device=device,
            overlap=overlap,
            instances=instances,
            tta=tta,
            views=views,
            compiled=compiled,
            uncertainty=uncertainty is not None,
            keep_probabilities=probabilities or False,
            progress=tell,
            cancel=cancelled,
        )
    save_mask(result, mask, overwrite=overwrite)
    if uncertainty is not None:
        write_uncertainty(uncertainty, result, overwrite=overwrite)
    return result
