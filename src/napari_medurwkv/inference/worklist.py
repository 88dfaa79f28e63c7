"""What a batch has to do, has done and could not do; it survives a sudden end.

The journal is a text file with one JSON object a line. Lines are only ever appended, so
what a sudden end can damage is the line being written, and that one is left out.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import ImageError, OutputError
from napari_medurwkv.io import is_dicom_folder, supported_suffixes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Entry", "Item", "Journal", "list_items", "remove_leftovers"]

JOURNAL = "worklist.jsonl"


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a batch.

    Attributes
    ----------
    image : str
        Absolute path of a file or folder.
    mask : str
        Absolute path that its mask is written to, without its ending.
    frame : int or None
        Which frame of a series.
    model : str or None
        Instead of the batch's.
    """

    image: str
    mask: str
    frame: int | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What came of one item.

    Attributes
    ----------
    image : str
        As `Item.image`.
    frame : int or None
        As `Item.frame`.
    state : str
        "done" or "failed".
    reason : str
        Why it failed, in a sentence.
    mask : str
        File of the mask, if it is done.
    model : str
        Name of the model.
    seconds : float
        How long it took.
    measures : tuple of dict
        Per class: value, name, voxels, size, unit.
    """

    image: str
    frame: int | None
    state: str
    reason: str = ""
    mask: str = ""
    model: str = ""
    seconds: float = 0.0
    measures: tuple[dict[str, Any], ...] = field(default=())


class Journal:
    """The worklist of one output folder.

    Parameters
    ----------
    folder : Path
        Where masks go; made if it is missing.

    Raises
    ------
    OutputError
        If the folder cannot be made or the journal cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = self.path.read_text("utf-8") if self.path.is_file() else ""
        except OSError as error:
            raise OutputError(
                f"The folder {folder} cannot be used ({error.strerror}); choose "
                "another one."
            ) from error
        self._entries: dict[tuple[str, int | None], Entry] = {}
        for line in text.splitlines():
            entry = _read_entry(line)
            if entry is not None:
                self._entries[entry.image, entry.frame] = entry
        # A line that was cut off must not swallow the next one.
        self._broken_end = bool(text) and not text.endswith("\n")

    def entry(self, item: Item) -> Entry | None:
        """Return what came of an item; None if nothing has yet."""
        return self._entries.get((item.image, item.frame))

    def is_done(self, item: Item) -> bool:
        """Whether its mask is written and still there."""
        entry = self.entry(item)
        return entry is not None and entry.state == "done" and Path(entry.mask).exists()

    def add(self, entry: Entry) -> None:
        """Note what came of an item; it is on the disk when this returns.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        line = ("\n" if self._broken_end else "") + json.dumps(asdict(entry)) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}); free some space or "
                "choose another folder."
            ) from error
        self._broken_end = False
        self._entries[entry.image, entry.frame] = entry


def _read_entry(line: str) -> Entry | None:
    """Read one line; None for one that a sudden end has cut off."""
    try:
        values = json.loads(line)
        values["measures"] = tuple(values["measures"])
        return Entry(**values)
    except (ValueError, TypeError, KeyError):
        return None


def list_items(source: Path, out: Path) -> list[Item]:
    """List what a folder or a manifest asks for.

    Parameters
    ----------
    source : Path
        A folder, searched with its subfolders for images; a ``.csv`` table with a
        column ``image`` and, if wanted, ``mask``, ``frame`` and ``model``; or a text
        file with one path a line. Paths in a file are relative to it.
    out : Path
        Folder for the masks. They keep the subfolders of `source`.

    Returns
    -------
    list of Item
        In the order of the manifest; of a folder, by name.

    Raises
    ------
    ImageError
        If there is nothing to do, or the manifest makes no sense.
    OutputError
        If two images would have one mask.
    """
    if not source.exists():
        raise ImageError(f"{source} does not exist.")
    rows = _of_folder(source, out) if source.is_dir() else _of_manifest(source)
    items: list[Item] = []
    targets: dict[str, str] = {}
    for row in rows:
        item = _item(row, source, out)
        if item.mask in targets:
            raise OutputError(
                f"{item.image} and {targets[item.mask]} would have the same mask; name "
                "masks in a column of the manifest."
            )
        targets[item.mask] = item.image
        items.append(item)
    if not items:
        raise ImageError(
            f"There is no image in {source}; known are "
            f"{', '.join(supported_suffixes())}."
        )
    return items


def _item(row: dict[str, str], source: Path, out: Path) -> Item:
    base = source if source.is_dir() else source.parent
    path = Path(os.path.abspath(base / row["image"]))
    frame = row.get("frame", "").strip()
    if frame and not frame.isdecimal():
        raise ImageError(f'{source} asks for the frame "{frame}"; frames are 0, 1, ...')
    named = row.get("mask", "").strip()
    if named:
        mask = out / _stem(named)
    else:
        try:
            kept = path.parent.relative_to(os.path.abspath(base))
        except ValueError:
            kept = Path()
        ending = f"_frame{frame}_mask" if frame else "_mask"
        mask = out / kept / (_stem(path.name) + ending)
    return Item(
        str(path),
        os.path.abspath(mask),
        int(frame) if frame else None,
        row.get("model", "").strip() or None,
    )


def _of_folder(folder: Path, out: Path) -> Iterator[dict[str, str]]:
    inside = out.resolve()
    for path in sorted(_walk(folder)):
        # Masks of an earlier run are no images.
        if inside not in path.resolve().parents:
            yield {"image": str(path.relative_to(folder))}


def _walk(folder: Path) -> Iterator[Path]:
    if is_dicom_folder(folder):
        yield folder  # its files are slices of one image, not images
        return
    suffixes = supported_suffixes()
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.name.lower().endswith(".zarr") or (
            path.is_file() and path.name.lower().endswith(suffixes)
        ):
            yield path
        elif path.is_dir():
            yield from _walk(path)


def _of_manifest(file: Path) -> Iterable[dict[str, str]]:
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{file} cannot be read as a list of images.") from error
    if file.suffix.lower() != ".csv":
        lines = (line.strip() for line in text.splitlines())
        return [{"image": line} for line in lines if line and not line.startswith("#")]
    reader = csv.DictReader(text.splitlines())
    if "image" not in (reader.fieldnames or ()):
        raise ImageError(f'{file} has no column "image"; its first line names columns.')
    rows = [{k: v or "" for k, v in row.items() if k} for row in reader]
    return [row for row in rows if row["image"].strip()]


def _stem(name: str) -> str:
    lower = name.lower()
    for suffix in sorted(supported_suffixes(), key=len, reverse=True):
        if lower.endswith(suffix):
            return name[: -len(suffix)]
    return name


def remove_leftovers(folder: Path) -> int:
    """Remove unfinished files that programs which are gone have left behind.

    Parameters
    ----------
    folder : Path
        Searched with its subfolders for the names that safe writing uses.

    Returns
    -------
    int
        How many there were.
    """
    import shutil

    removed = 0
    for path in list(folder.rglob(".tmp-*")):
        number = path.name.split("-")[1]
        if number.isdecimal() and not _alive(int(number)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed += 1
    return removed


def _alive(number: int) -> bool:
    if os.name == "nt":
        return True  # an open file cannot be removed there; others do no harm
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
