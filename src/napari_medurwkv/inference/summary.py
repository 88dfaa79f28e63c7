"""The table of a batch: one line per image and class."""

from __future__ import annotations

import csv
import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_medurwkv.io import write_safely, write_text_safely

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medurwkv.inference.worklist import Item, Journal

__all__ = ["summary_rows", "write_summary"]

COLUMNS = {
    "image": str,
    "frame": int,
    "state": str,
    "reason": str,
    "mask": str,
    "model": str,
    "seconds": float,
    "value": int,
    "name": str,
    "voxels": int,
    "size": float,
    "unit": str,
    "objects": int,
}


def summary_rows(items: Sequence[Item], journal: Journal) -> list[dict[str, Any]]:
    """Return the table's lines, in the order of the items.

    Parameters
    ----------
    items : sequence of Item
        Of the batch.
    journal : Journal
        What came of them.

    Returns
    -------
    list of dict
        With the keys of `COLUMNS`; an image without measures has one line.
    """
    rows = []
    for item in items:
        entry = journal.entry(item)
        common: dict[str, Any] = dict.fromkeys(COLUMNS)
        common.update(image=item.image, frame=item.frame, state="to do")
        if entry is not None:
            common.update(
                state=entry.state,
                reason=entry.reason or None,
                mask=entry.mask or None,
                model=entry.model or None,
                seconds=round(entry.seconds, 3),
            )
        measures = entry.measures if entry is not None else ()
        if not measures:
            rows.append(common)
        for measure in measures:
            own = {key: measure[key] for key in ("value", "name", "voxels", "unit")}
            objects = measure.get("components")
            rows.append({**common, **own, "size": measure["size"], "objects": objects})
    return rows


def write_summary(
    items: Sequence[Item], journal: Journal, folder: Path
) -> tuple[Path, ...]:
    """Write ``summary.csv`` and, where pyarrow is installed, ``summary.parquet``.

    Returns
    -------
    tuple of Path
        What was written.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    rows = summary_rows(items, journal)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(COLUMNS))
    writer.writeheader()
    writer.writerows(rows)
    written = [
        write_text_safely(folder / "summary.csv", text.getvalue(), overwrite=True)
    ]
    if find_spec("pyarrow") is not None:

        def write(part: Path) -> None:
            _write_parquet(rows, part)

        target = folder / "summary.parquet"
        written.append(write_safely(target, write, overwrite=True))
    return tuple(written)


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
