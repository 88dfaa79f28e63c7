"""Read a DICOM file, a series, or a segmentation into display order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medurwkv.errors import GeometryError, ImageError
from napari_medurwkv.geometry import DicomSource, Geometry, SourceInfo
from napari_medurwkv.io.dicom.header import modality, number, text
from napari_medurwkv.io.dicom.library import quiet
from napari_medurwkv.io.dicom.pixels import is_inverted, read_pixels
from napari_medurwkv.io.dicom.scan import Stack, choose, list_choices, stacks_in
from napari_medurwkv.io.dicom.segmentation import read_segmentation
from napari_medurwkv.io.dicom.stack import frames_of, place
from napari_medurwkv.io.image import Image, clean_values

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medurwkv.errors import SeriesChoice
    from napari_medurwkv.io.dicom.slices import Slice

__all__ = ["dicom_frame_count", "is_dicom_segmentation", "list_series", "read_dicom"]


@quiet()
def read_dicom(
    path: Path,
    *,
    frame: int | None = None,
    series: str | int | None = None,
    approximate: bool = False,
    labels: bool = False,
) -> Image:
    """Read an image or a mask.

    Parameters
    ----------
    path : Path
        A file, or a folder with one or several series.
    frame : int, optional
        Which frame of a 4D image, from 0.
    series : str or int, optional
        Which image of the folder: its number in the list, or its series instance UID.
    approximate : bool
        Take the closest regular grid where slices are missing, uneven or tilted.
    labels : bool
        Read a mask; of a DICOM segmentation with its segments' names and colours.

    Returns
    -------
    Image
        Source index (column, row, slice), slices counted along the normal of their
        plane; rows and columns where the file states no position.

    Raises
    ------
    SeriesChoiceError
        If there are several images and `series` does not say which.
    ApproximateGeometryError
        If the slices are on no regular grid and `approximate` is False.
    ImageError
        If files are damaged, mixed, too large for memory, or not decodable.
    """
    stack = choose(path, stacks_in(path), series, labels=labels)
    if stack.is_segmentation:
        return read_segmentation(stack.first.path)
    frames, key, notes = _frames(path, stack)
    chosen = _choose_frame(path, len(frames), frame)
    slices = frames[chosen or 0]
    geometry = _geometry(path, stack, slices, chosen, approximate)
    values = read_pixels(slices)
    rgb = values.ndim == 4
    values, replaced = clean_values(values, str(path))
    if key:
        notes += (f"Its {len(frames)} frames are told apart by {key}.",)
    if is_inverted(slices):
        notes += ("The file stores white as 0; it is shown, and read, inverted.",)
    if geometry.approximate:
        notes += (f"Loaded with approximate geometry: {geometry.approximate}.",)
    notes += _sibling_note(path, stack) + stack.notes + replaced
    array = _as_source(values, geometry, rgb)
    name = path.stem if path.is_file() else path.resolve().name
    return Image(geometry.to_display(array), geometry, rgb, name, notes)


@quiet()
def dicom_frame_count(path: Path, *, series: str | int | None = None) -> int:
    """Count the frames of an image: 1 unless 4D or a film."""
    stack = choose(path, stacks_in(path), series, labels=False)
    return 1 if stack.is_segmentation else len(_frames(path, stack)[0])


@quiet()
def is_dicom_segmentation(path: Path, *, series: str | int | None = None) -> bool:
    """Whether an image is a mask in DICOM's own form."""
    return choose(path, stacks_in(path), series, labels=False).is_segmentation


@quiet()
def list_series(path: Path) -> tuple[SeriesChoice, ...]:
    """List the images of a folder, as the option series numbers them.

    Raises
    ------
    ImageError
        If there is none.
    """
    return list_choices(stacks_in(path))


def _frames(path: Path, stack: Stack) -> tuple[list[list[Slice]], str, tuple[str, ...]]:
    """Sort a stack into frames of slices; tell by what, and what is odd."""
    if not stack.placed:
        if any(one.position is not None for one in stack.slices):
            raise ImageError(
                f"{path} is damaged: some of its slices state no position or "
                "orientation, so they cannot be put in order."
            )
        if len(stack.slices) > 1 and stack.follows_in_space:
            return [list(stack.slices)], "", ()
        return [[one] for one in stack.slices], "", ()
    notes: tuple[str, ...] = ()
    uids = [one.file.sop_instance_uid for one in stack.slices if one.frame is None]
    if any(not text(one.file.dataset, "SOPInstanceUID") for one in stack.slices) or (
        len(set(uids)) < len(uids)
    ):
        notes = (
            "The files' identifiers are empty or repeated, as careless anonymisers "
            "leave them; the slices were put in order by their positions.",
        )
    frames, key = frames_of(str(path), stack.slices)
    return frames, key, notes


def _choose_frame(path: Path, count: int, frame: int | None) -> int | None:
    if frame is None and count > 1:
        raise ImageError(
            f"{path} has {count} frames: say which one to take, 0 to {count - 1}, with "
            "the option frame (--frame)."
        )
    if frame is not None and not 0 <= frame < count:
        raise ImageError(
            f"{path} has no frame {frame}: its frames are 0 to {count - 1}."
        )
    return frame if count > 1 else None


def _geometry(
    path: Path, stack: Stack, slices: list[Slice], frame: int | None, approximate: bool
) -> Geometry:
    first = slices[0]
    count, rows, columns = len(slices), first.file.rows, first.file.columns
    size = (columns, rows, count) if count > 1 else (columns, rows)
    plain = not stack.placed
    source = SourceInfo(
        "dicom",
        str(path.absolute()),
        shape=tuple(reversed(size)) if plain else size,
        frame=frame,
        dicom=_references(slices),
    )
    if plain:
        spacing = first.spacing
        if spacing is not None and count > 1:
            distance = number(first.file.dataset, "SpacingBetweenSlices")
            spacing = (abs(distance), *spacing) if distance else None
        return Geometry.plain(tuple(reversed(size)), spacing, "mm", source=source)
    try:
        placement = place(str(path), slices, approximate=approximate)
        return Geometry.from_affine(
            placement.affine, size, source=source, approximate=placement.approximate
        )
    except GeometryError as error:
        raise ImageError(
            f"{path} does not say where its voxels are ({error}): export it again."
        ) from error


def _references(slices: list[Slice]) -> DicomSource:
    first = slices[0].file
    multi = slices[0].frame is not None
    files = [first] if multi else [one.file for one in slices]
    return DicomSource(
        files=tuple(str(file.path.absolute()) for file in files),
        frames=tuple(one.frame or 0 for one in slices) if multi else None,
        sop_instance_uids=tuple(text(file.dataset, "SOPInstanceUID") for file in files),
        series_instance_uid=text(first.dataset, "SeriesInstanceUID"),
        study_instance_uid=text(first.dataset, "StudyInstanceUID"),
        frame_of_reference_uid=text(first.dataset, "FrameOfReferenceUID"),
        modality=modality(first.dataset),
        inverted=is_inverted(slices),
    )


def _as_source(values: NDArray[Any], geometry: Geometry, rgb: bool) -> NDArray[Any]:
    """Order (slices, rows, columns) as the geometry's source index is."""
    if geometry.ndim == 2:
        values = values[0]
    if geometry.kind != "patient":
        return values
    axes = tuple(reversed(range(geometry.ndim)))
    return values.transpose(*axes, *([geometry.ndim] if rgb else []))


def _sibling_note(path: Path, stack: Stack) -> tuple[str, ...]:
    if path.is_dir() or len(stack.slices) > 1 or not stack.placed:
        return ()
    others = [
        other
        for other in path.parent.iterdir()
        if other.suffix == path.suffix and other != path
    ]
    if not others:
        return ()
    return (
        "If this slice is one of a series, open their folder for the whole volume.",
    )
