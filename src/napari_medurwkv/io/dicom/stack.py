"""Slices put in order: by their positions, never by their numbers or file names.

Distances come from positions too, never from SliceThickness. What is no regular grid is
refused, and becomes an approximate geometry only if the caller asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import ApproximateGeometryError, ImageError
from napari_medurwkv.io.dicom.slices import FRAME_KEYS, Slice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Placement", "frames_of", "place"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Positions are written with few decimals: what differs less is the same place.
SAME_PLACE = 1e-3
# Of the slices' distance; what is within is noise of the positions' decimals.
REGULAR = 0.01
# Degrees between the slices' axis and their normal; real tilts are several degrees.
UPRIGHT = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a stack of slices lies.

    Attributes
    ----------
    affine : (4, 4) ndarray
        Index (column, row, slice) to RAS mm.
    approximate : str
        What is not exact; "" where nothing is.
    """

    affine: NDArray[np.float64]
    approximate: str = ""


def frames_of(what: str, slices: Sequence[Slice]) -> tuple[list[list[Slice]], str]:
    """Sort slices by position, and into frames where places are taken repeatedly.

    Parameters
    ----------
    what : str
        Subject of an error's sentence.
    slices : sequence of Slice
        Of one orientation, with positions.

    Returns
    -------
    frames : list of list of Slice
        One list in slice order for each frame.
    key : str
        What tells the frames apart; "" where there is one.

    Raises
    ------
    ImageError
        If some places are taken more often than others, or nothing tells the slices at
        one place apart.
    """
    normal = slices[0].normal
    at = [float(np.asarray(one.position) @ normal) for one in slices]
    order = sorted(range(len(slices)), key=lambda index: at[index])
    places: list[list[Slice]] = []
    last = -np.inf
    for index in order:
        if at[index] - last > SAME_PLACE or not places:
            places.append([])
            last = at[index]
        places[-1].append(slices[index])
    places = _without_copies(places)
    counts = {len(place) for place in places}
    if counts == {1}:
        return [[place[0] for place in places]], ""
    if len(counts) > 1:
        raise ImageError(
            f"{what} has {min(counts)} slices at some places and {max(counts)} at "
            "others: files are missing, or two images are mixed; sort them into "
            "folders."
        )
    key = _telling_key(places)
    if key is None:
        raise ImageError(
            f"{what} has {counts.pop()} different slices at every place, and nothing "
            "says which belong together: sort them into folders."
        )
    ordered = [
        sorted(place, key=lambda one: _sortable(one.keys[key])) for place in places
    ]
    return [list(frame) for frame in zip(*ordered, strict=True)], key


def place(what: str, slices: Sequence[Slice], *, approximate: bool) -> Placement:
    """Find the grid of sorted slices.

    Parameters
    ----------
    what : str
        Subject of an error's sentence.
    slices : sequence of Slice
        Of one frame, as `frames_of` sorted them, with spacing.
    approximate : bool
        Take the closest regular grid where there is none.

    Returns
    -------
    Placement

    Raises
    ------
    ApproximateGeometryError
        If slices are missing, unevenly spaced or tilted, and `approximate` is False.
    ImageError
        If some slice states no pixel size.
    """
    first = slices[0]
    if first.spacing is None or any(one.spacing != first.spacing for one in slices):
        raise ImageError(
            f"{what} does not state one pixel size for all its slices: it cannot be "
            "measured, so it is not read."
        )
    directions = np.asarray(first.orientation)
    normal = first.normal
    affine = np.eye(4)
    affine[:3, 0] = directions[:3] * first.spacing[1]
    affine[:3, 1] = directions[3:] * first.spacing[0]
    affine[:3, 2] = normal
    affine[:3, 3] = first.position
    if len(slices) == 1:
        return Placement(LPS_TO_RAS @ affine)
    positions = np.array([one.position for one in slices])
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    along = float(step @ normal)
    troubles = [_gaps(positions @ normal), _tilt(positions, step, normal)]
    said = " and ".join(trouble for trouble in troubles if trouble)
    if said and not approximate:
        raise ApproximateGeometryError(
            f"{what} is no regular volume: {said}. Find the missing files, or load it "
            "anyway, with approximate geometry (option approximate, --approximate)."
        )
    # A tilt stays in the affine: so every slice keeps its place.
    affine[:3, 2] = step if troubles[1] else along * normal
    return Placement(LPS_TO_RAS @ affine, said)


def _gaps(at: NDArray[np.float64]) -> str:
    """Say what is irregular in the positions along the normal; "" if nothing is."""
    gaps = np.diff(at)
    usual = float(np.median(gaps))
    regular = at[0] + np.arange(len(at)) * (at[-1] - at[0]) / (len(at) - 1)
    off = float(np.abs(at - regular).max())
    if np.abs(gaps - usual).max() <= max(REGULAR * usual, 2 * SAME_PLACE):
        if off <= max(REGULAR * usual * 10, 2 * SAME_PLACE):
            return ""
    times = gaps / gaps.min()
    if np.abs(times - np.round(times)).max() < 0.1 and np.round(times).min() >= 1:
        missing = int(np.round(times).sum()) - len(gaps)
        if missing:
            verb = "slice is" if missing == 1 else "slices are"
            return f"{missing} {verb} missing (places are off by up to {off:.3g} mm)"
    return (
        f"the distance of its slices varies from {gaps.min():.4g} to {gaps.max():.4g} "
        f"mm (places are off by up to {off:.3g} mm)"
    )


def _tilt(positions: NDArray[np.float64], step: Any, normal: Any) -> str:
    """Say by how much slices are shifted against each other; "" if they are not."""
    along = float(step @ normal)
    sideways = float(np.linalg.norm(step - along * normal))
    angle = float(np.degrees(np.arctan2(sideways, along)))
    if angle > UPRIGHT:
        return (
            f"its slices are tilted by {angle:.1f} degrees against their axis (gantry "
            "tilt; the picture is sheared)"
        )
    straight = positions[0] + np.outer(np.arange(len(positions)), step)
    across = positions - straight
    across -= np.outer(across @ normal, normal)
    off = float(np.linalg.norm(across, axis=1).max())
    if off > max(0.1 * along, 0.05):
        return f"its slices are shifted sideways by up to {off:.3g} mm"
    return ""


def _without_copies(places: list[list[Slice]]) -> list[list[Slice]]:
    """Leave out files that are there twice: the same instance at the same place.

    An identifier that stands at several places is no one's, so nothing follows from it.
    """
    where: dict[tuple[str, int | None], set[int]] = {}
    for index, at_place in enumerate(places):
        for one in at_place:
            where.setdefault(_mark(one), set()).add(index)
    kept = []
    for at_place in places:
        unique: dict[object, Slice] = {}
        for number, one in enumerate(at_place):
            mark = _mark(one)
            told_by = mark if mark[0] and len(where[mark]) == 1 else number
            unique.setdefault(told_by, one)
        kept.append(list(unique.values()))
    return kept


def _mark(one: Slice) -> tuple[str, int | None]:
    return one.file.sop_instance_uid, one.frame


def _telling_key(places: list[list[Slice]]) -> str | None:
    """Find what numbers the slices at each place alike."""
    for key in FRAME_KEYS:
        values = [[one.keys.get(key) for one in place] for place in places]
        if any(None in at_place for at_place in values):
            continue
        distinct = [set(at_place) for at_place in values]
        if all(len(d) == len(p) for d, p in zip(distinct, places, strict=True)) and (
            all(d == distinct[0] for d in distinct) or key.endswith(("Time", "Number"))
        ):
            return key
    return None


def _sortable(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
