"""Which images does a folder hold? Files are grouped by what they say, not by names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ImageError, SeriesChoice, SeriesChoiceError
from napari_medurwkv.io.dicom.header import (
    DicomFile,
    modality,
    number,
    open_dicom,
    text,
)
from napari_medurwkv.io.dicom.library import library
from napari_medurwkv.io.dicom.slices import Slice, slices_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Stack", "choose", "list_choices", "stacks_in"]

SUFFIXES = (".dcm", ".dicom", ".ima")
MOST_FILES = 50_000
MOST_LISTED = 20
SAME_DIRECTION = 1e-3
# The frames of these lie one behind the other, not one after the other.
SLICE_VECTOR = 0x00540080


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices that may be one image: of one series, size and orientation.

    Attributes
    ----------
    slices : tuple of Slice
        In no order yet.
    notes : tuple of str
        What was odd about finding them.
    """

    slices: tuple[Slice, ...]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> DicomFile:
        """A file of it."""
        return self.slices[0].file

    @property
    def is_segmentation(self) -> bool:
        """Whether it is a mask in DICOM's own form."""
        return self.first.is_segmentation

    @property
    def placed(self) -> bool:
        """Whether every slice says where it is."""
        return all(
            one.position is not None and one.orientation is not None
            for one in self.slices
        )

    @property
    def follows_in_space(self) -> bool:
        """Whether frames without positions lie behind each other."""
        pointer = self.first.dataset.get("FrameIncrementPointer")
        stated = pointer if isinstance(pointer, list | tuple) else [pointer]
        return bool(pointer) and all(int(tag) == SLICE_VECTOR for tag in stated)

    def describe(self) -> str:
        """Say what a person needs to choose."""
        dataset = self.first.dataset
        words = [modality(dataset) or "image"]
        description = text(dataset, "SeriesDescription")
        if 0 < len(description) <= 64:  # longer ones swallowed what follows them
            words.append(description)
        if self.is_segmentation:
            return ", ".join([*words, "segmentation"])
        count = len(self.slices)
        size = f"{self.first.columns} x {self.first.rows}"
        plural = "slices" if self.placed else "frames"
        words.append(f"{count} {plural} of {size}" if count > 1 else f"one {size}")
        return ", ".join(words)


def stacks_in(path: Path) -> tuple[Stack, ...]:
    """Find the images of a folder (and the folders in it), or of one file.

    Parameters
    ----------
    path : Path
        A folder or a file.

    Returns
    -------
    tuple of Stack
        Sorted by series number; at least one.

    Raises
    ------
    ImageError
        If there is none, or a single file is damaged.
    """
    library("pydicom")  # before files are called damaged for want of it
    if not path.is_dir():
        file = open_dicom(path)
        stacks = _group([file])
        if not stacks:
            kind = modality(file.dataset)
            said = f" (modality {kind})" if kind else ""
            raise ImageError(
                f"{path} holds no image: it is a DICOM file of another kind{said}."
            )
        return tuple(stacks)
    return _of_files(path, tuple(_candidates(path)))


def choose(
    path: Path, stacks: Sequence[Stack], series: str | int | None, *, labels: bool
) -> Stack:
    """Take one of several images.

    Parameters
    ----------
    path : Path
        Where they are.
    stacks : sequence of Stack
        From `stacks_in`.
    series : str or int, optional
        Number in the list, from 1, or a series instance UID.
    labels : bool
        Whether a mask is wanted rather than an image.

    Returns
    -------
    Stack

    Raises
    ------
    SeriesChoiceError
        If there are several and nobody said which.
    ImageError
        If there is no such one.
    """
    choices = list_choices(stacks)
    if series is not None:
        wanted = str(series)
        found = [
            stack
            for choice, stack in zip(choices, stacks, strict=True)
            if wanted in (str(choice.number), choice.uid) and wanted
        ]
        if len(found) == 1:
            return found[0]
        if not found:
            raise ImageError(
                f"{path} has no series {wanted}: it holds {_listed(choices)}."
            )
    fitting = [stack for stack in stacks if stack.is_segmentation == labels]
    if series is None and (len(stacks) == 1 or len(fitting) == 1):
        return (fitting or list(stacks))[0]
    raise SeriesChoiceError(
        f"{path} holds {len(stacks)} images: say which one with the option series "
        f"(--series): {_listed(choices)}.",
        choices,
    )


def list_choices(stacks: Sequence[Stack]) -> tuple[SeriesChoice, ...]:
    """Give the images numbers, for a person to choose one."""
    return tuple(
        SeriesChoice(
            index + 1,
            text(stack.first.dataset, "SeriesInstanceUID"),
            stack.describe(),
        )
        for index, stack in enumerate(stacks)
    )


def _listed(choices: Sequence[SeriesChoice]) -> str:
    texts = [f"{choice.number} = {choice.text}" for choice in choices[:MOST_LISTED]]
    if len(choices) > MOST_LISTED:
        texts.append(f"and {len(choices) - MOST_LISTED} more")
    return "; ".join(texts)


def _candidates(folder: Path) -> Iterable[tuple[str, int, int]]:
    """Yield path, size and time of every file that may be DICOM."""
    count = 0
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(where, name)
            if name.startswith(".") or name.upper() == "DICOMDIR":
                continue
            count += 1
            if count > MOST_FILES:
                raise ImageError(
                    f"{folder} holds more than {MOST_FILES} files: give the folder of "
                    "one series."
                )
            try:
                state = file.stat()
                with file.open("rb") as stream:
                    start = stream.read(132)
            except OSError:
                continue  # a link to nowhere, or a file of somebody else
            if start[128:] == b"DICM" or name.lower().endswith(SUFFIXES):
                yield str(file), state.st_size, state.st_mtime_ns


@lru_cache(maxsize=2)
def _of_files(
    folder: Path, files: tuple[tuple[str, int, int], ...]
) -> tuple[Stack, ...]:
    # Cached, because the frames of a 4D image are asked for one by one. The key holds
    # sizes and times, so a changed folder is read again.
    opened, damaged = [], []
    for name, _, _ in files:
        try:
            opened.append(open_dicom(Path(name)))
        except ImageError:
            damaged.append(Path(name))
    notes: tuple[str, ...] = ()
    if damaged:
        others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        notes = (f"{damaged[0].name}{others} in the folder could not be read.",)
    stacks = _group(opened, notes)
    if not stacks:
        if damaged:
            raise ImageError(
                f"{folder} holds DICOM files, but they are damaged: copy them again."
            )
        raise ImageError(
            f"{folder} is a folder without DICOM images: give an image file, or a "
            "folder with a DICOM series."
        )
    return tuple(stacks)


def _group(files: Iterable[DicomFile], notes: tuple[str, ...] = ()) -> list[Stack]:
    groups: dict[tuple[Any, ...], list[Slice]] = {}
    for file in files:
        if not file.has_pixels:
            continue
        if file.is_segmentation:
            groups[(str(file.path),)] = [Slice(file, 0, None, None, None)]
            continue
        for one in slices_of(file):
            groups.setdefault(_key(one, groups), []).append(one)
    stacks = [Stack(tuple(slices), notes) for slices in groups.values()]
    return sorted(stacks, key=_order)


def _key(one: Slice, groups: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Tell what the slices of one image share."""
    file = one.file
    own_file = str(file.path) if one.frame is not None or one.position is None else ""
    key = (
        text(file.dataset, "SeriesInstanceUID"),
        own_file,
        file.rows,
        file.columns,
        file.samples,
    )
    if one.orientation is None:
        return (*key, None)
    for other in groups:
        # Directions differ in their last decimals from slice to slice.
        if len(other) == len(key) + 1 and other[:-1] == key and other[-1] is not None:
            if np.abs(np.subtract(other[-1], one.orientation)).max() < SAME_DIRECTION:
                return other
    return (*key, one.orientation)


def _order(stack: Stack) -> tuple[Any, ...]:
    dataset = stack.first.dataset
    return (
        number(dataset, "SeriesNumber") or 0.0,
        text(dataset, "SeriesInstanceUID"),
        -len(stack.slices),
        str(stack.first.path),
    )
