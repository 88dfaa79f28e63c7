"""``medurwkv demo``: the bundled samples segmented, measured and shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from napari_medurwkv.cli.options import (
    AsJson,  # noqa: TC001 - typer reads the annotations
    Device,  # noqa: TC001
    Overwrite,  # noqa: TC001
)
from napari_medurwkv.cli.screen import has_screen
from napari_medurwkv.cli.segment import (
    describe_result,
    measure_result,
    run_and_save,
    size_text,
)
from napari_medurwkv.cli.streams import (
    add_row,
    only_results_on_stdout,
    say,
    show_json,
    show_table,
)
from napari_medurwkv.cli.targets import check_record_target, check_target
from napari_medurwkv.errors import MedurwkvError, OutputError

if TYPE_CHECKING:
    from napari_medurwkv.inference import Segmentation
    from napari_medurwkv.io import Image
    from napari_medurwkv.measure import Agreement, ClassMeasure
    from napari_medurwkv.samples import Sample

__all__ = ["demo"]

DEFAULT_FOLDER = Path("medurwkv-demo")


@dataclass(frozen=True, slots=True)
class _Files:
    """What the demo writes for one sample."""

    mask: Path
    record: Path
    overlay: Path


@dataclass(frozen=True, slots=True)
class _Shown:
    """One sample with everything that is said about it."""

    sample: Sample
    image: Image
    result: Segmentation
    files: _Files
    measures: tuple[ClassMeasure, ...]
    agreement: Agreement | None


def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="Do not open napari.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write to; by default a new one, medurwkv-demo.",
        ),
    ] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Segment the bundled samples and show them.

    Masks, records and pictures of the masks are written to a folder.
    """
    from napari_medurwkv.samples import list_samples

    with only_results_on_stdout():
        samples = list_samples()
        folder = _make_folder(output)
        files = {sample.name: _files(folder, sample) for sample in samples}
        for each in files.values():
            check_target(each.mask, overwrite=overwrite)
            check_record_target(each.record, overwrite=overwrite)
            check_target(each.overlay, overwrite=overwrite)
        shown = [
            _show(sample, files[sample.name], device, overwrite) for sample in samples
        ]
    if as_json:
        show_json({"folder": str(folder), "samples": [_describe(s) for s in shown]})
    else:
        show_table(_table(shown))
    for sample in samples:
        if sample.note:
            say(f"{sample.name}: {sample.note}")
    say(f"Masks, records and pictures are in {folder}. {_notice(shown)}")
    empty = [s.sample.name for s in shown if not s.result.labels.any()]
    if empty:
        raise MedurwkvError(
            f"The mask of {', '.join(empty)} is empty, which must not be: run "
            "`medurwkv doctor`."
        )
    if headless or as_json:
        return
    if not has_screen():
        say("There is no screen to open napari on.")
    elif find_spec("napari") is None:
        say('To see them in napari, install it: pip install "napari-medurwkv[all]"')
    else:
        _open_napari(shown)


def _make_folder(output: Path | None) -> Path:
    """Make the folder; without a wish of the user, one that nothing is in yet."""
    folder = DEFAULT_FOLDER if output is None else output
    number = 1
    while output is None and folder.exists():
        number += 1
        folder = DEFAULT_FOLDER.with_name(f"{DEFAULT_FOLDER.name}-{number}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}); choose another "
            "with --output."
        ) from error
    return folder


def _files(folder: Path, sample: Sample) -> _Files:
    from napari_medurwkv.provenance import record_path

    ending = ".nii.gz" if sample.dimensions == 3 else ".png"
    mask = folder / f"{sample.name}_mask{ending}"
    return _Files(mask, record_path(mask), folder / f"{sample.name}_overlay.png")


def _show(sample: Sample, files: _Files, device: str, overwrite: bool) -> _Shown:
    from napari_medurwkv.checkpoints import find
    from napari_medurwkv.cli.overlay import write_overlay
    from napari_medurwkv.io import read_image, read_labels
    from napari_medurwkv.measure import agreement

    image = read_image(sample.path)
    entry = find(sample.model)
    result = run_and_save(
        image,
        entry.path,
        files.mask,
        device=device,
        instances=entry.card.instances is not None,
        overwrite=overwrite,
    )
    write_overlay(files.overlay, image, result, overwrite=overwrite)
    compared = None
    if sample.reference_path is not None:
        reference = read_labels(sample.reference_path)
        compared = agreement(
            result.labels,
            reference.array,
            image.geometry.display_spacing,
            instances=result.instances,
        )
    return _Shown(sample, image, result, files, measure_result(result), compared)


def _table(shown: list[_Shown]) -> Table:
    table = Table(title="Bundled samples, segmented")
    table.add_column("Sample")
    table.add_column("Class")
    for heading in ("Objects", "Size", "Dice", "AJI", "Seconds"):
        table.add_column(heading, justify="right")
    for one in shown:
        dice: dict[int, float] = {}
        if one.agreement is not None:
            dice = {entry.value: entry.dice for entry in one.agreement.classes}
        aji = one.agreement.aji if one.agreement is not None else None
        for number, measure in enumerate(one.measures):
            # Object maps have one entry, whatever the class's own value is.
            value = 1 if one.result.instances else measure.value
            add_row(
                table,
                one.sample.name if number == 0 else "",
                measure.name,
                "" if measure.components is None else str(measure.components),
                size_text(measure),
                f"{dice[value]:.3f}" if value in dice else "",
                f"{aji:.3f}" if aji is not None and number == 0 else "",
                f"{one.result.record.seconds:.1f}" if number == 0 else "",
            )
        table.add_section()
    table.caption = "Dice and AJI: agreement with the labels that come with a sample"
    return table


def _describe(one: _Shown) -> dict[str, Any]:
    return {
        "sample": one.sample.name,
        "overlay": str(one.files.overlay),
        "agreement": None if one.agreement is None else asdict(one.agreement),
        **describe_result(one.result, one.image, one.files.mask, one.measures),
    }


def _notice(shown: list[_Shown]) -> str:
    return shown[0].result.record.notice if shown else ""


def _open_napari(shown: list[_Shown]) -> None:
    """Open a window for each sample: pictures and volumes share no axes."""
    import napari
    from napari.utils.colormaps import DirectLabelColormap

    for one in shown:
        viewer = napari.Viewer(title=f"{one.sample.title} - medurwkv demo")
        geometry = one.image.geometry
        place: dict[str, Any] = {
            "scale": geometry.display_spacing,
            "translate": geometry.display_translate,
        }
        viewer.add_image(
            one.image.array, name=one.sample.name, rgb=one.image.rgb, **place
        )
        mask = viewer.add_labels(
            one.result.labels, name=f"{one.sample.name} mask", opacity=0.5, **place
        )
        if not one.result.instances:
            colours: dict[int | None, str] = {None: "transparent"}
            colours |= {info.value: info.color for info in one.result.classes}
            colours[0] = "transparent"
            mask.colormap = DirectLabelColormap(color_dict=colours)
    napari.run()
