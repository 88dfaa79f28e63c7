"""``medurwkv batch``: a folder or a list of images; run again, it goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from napari_medurwkv.cli.options import (
    AsJson,  # noqa: TC001 - typer reads the annotations
    Device,  # noqa: TC001
    Instances,  # noqa: TC001
    ModelName,  # noqa: TC001
    Overlap,  # noqa: TC001
    Tta,  # noqa: TC001
)
from napari_medurwkv.cli.streams import (
    cancel_on_interrupt,
    only_results_on_stdout,
    say,
    show_json,
)

if TYPE_CHECKING:
    from napari_medurwkv.inference.worklist import Entry

__all__ = ["batch"]

SOME_FAILED = 1


def batch(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of images; a .csv with a column image (and mask, frame, "
            "model); or a text file with one path a line.",
            metavar="MANIFEST_OR_FOLDER",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the masks.", metavar="OUT")],
    model: ModelName = None,
    device: Device = "auto",
    overlap: Overlap = None,
    instances: Instances = False,
    tta: Tta = False,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes on this computer; 0 is this one alone."),
    ] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Address of a running dask scheduler, whose workers see the same "
            "folders.",
            metavar="ADDRESS",
        ),
    ] = None,
    keep_failed: Annotated[
        bool, typer.Option("--keep-failed", help="Do not try again what failed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Segment many images; run it again to go on where it was ended.

    OUT/worklist.jsonl says what is done and what failed, with the reason; what is done
    is not done again. OUT/summary.csv (and .parquet) has every class's size.
    """
    from napari_medurwkv.inference.batch import Places, run_batch
    from napari_medurwkv.inference.batch_item import Options
    from napari_medurwkv.inference.summary import summary_rows, write_summary
    from napari_medurwkv.inference.worklist import Journal, list_items, remove_leftovers

    with only_results_on_stdout():
        items = list_items(source, out)
        journal = Journal(out)
        remove_leftovers(out)
        options = Options(_absolute(model), device, overlap, instances, tta)
        try:
            with cancel_on_interrupt() as cancelled:
                run_batch(
                    items,
                    journal,
                    options,
                    Places(workers, scheduler),
                    retry_failed=not keep_failed,
                    tell=_tell,
                    cancel=cancelled,
                )
        finally:
            written = write_summary(items, journal, out)
        rows = summary_rows(items, journal)
    states = Counter(
        "to do" if entry is None else entry.state for entry in map(journal.entry, items)
    )
    if as_json:
        show_json(
            {
                "counts": dict(states),
                "summary": [str(path) for path in written],
                "rows": rows,
            }
        )
    else:
        say(f"{states['done']} done, {states['failed']} failed; {written[0]}.")
    if states["failed"]:
        raise typer.Exit(SOME_FAILED)


def _absolute(model: str | None) -> str | None:
    """Make a path independent of the folder that a worker was started in."""
    from pathlib import Path

    if model is None or not Path(model).exists():
        return model
    return str(Path(model).absolute())


def _tell(entry: Entry, over: int, total: int) -> None:
    what = f"failed: {entry.reason}" if entry.state == "failed" else "done"
    say(f"{over}/{total} {entry.image} ({entry.seconds:.1f} s) {what}")
