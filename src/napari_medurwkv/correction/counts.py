"""Numbers of each class, kept up to date edit by edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.correction.edits import Patch

__all__ = ["Counts", "Tally", "tally_labels", "tally_patches"]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Voxels and intensity per class and plane of the first axis, or changes of them.

    Attributes
    ----------
    first : int
        Plane that the first column stands for.
    values : ndarray of int64, shape (classes,)
        Class of each row.
    voxels : ndarray of int64, shape (classes, planes)
        How many.
    intensity : ndarray of float64, shape (classes,)
        Sum of the image over them; zeros where there is no image.
    """

    first: int
    values: NDArray[np.int64]
    voxels: NDArray[np.int64]
    intensity: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.values.nbytes + self.voxels.nbytes + self.intensity.nbytes


class Counts:
    """Voxels per class and plane, and the image's sum over each class.

    Parameters
    ----------
    planes : int
        Length of the first axis.
    """

    def __init__(self, planes: int) -> None:
        self._planes = planes
        self._voxels: dict[int, NDArray[np.int64]] = {}
        self._intensity: dict[int, float] = {}

    def add(self, tally: Tally, sign: int = 1) -> None:
        """Add a change, or take it away with ``sign=-1``."""
        columns = slice(tally.first, tally.first + tally.voxels.shape[1])
        for value, voxels, total in zip(
            tally.values.tolist(), tally.voxels, tally.intensity.tolist(), strict=True
        ):
            if value not in self._voxels:
                self._voxels[value] = np.zeros(self._planes, np.int64)
                self._intensity[value] = 0.0
            self._voxels[value][columns] += sign * voxels
            self._intensity[value] += sign * total

    @property
    def values(self) -> tuple[int, ...]:
        """Classes that occur, ascending, background apart."""
        return tuple(v for v in sorted(self._voxels) if v != 0 and self.voxels(v))

    def voxels(self, value: int) -> int:
        """Return how many voxels a class has."""
        planes = self._voxels.get(value)
        return 0 if planes is None else int(planes.sum())

    def planes(self, value: int) -> NDArray[np.int64]:
        """Return the planes of the first axis that hold a class, ascending."""
        planes = self._voxels.get(value)
        if planes is None:
            return np.zeros(0, np.int64)
        found: NDArray[np.int64] = np.flatnonzero(planes)
        return found

    def mean_intensity(self, value: int) -> float:
        """Return the image's mean over a class; NaN where it is empty."""
        voxels = self.voxels(value)
        return self._intensity.get(value, 0.0) / voxels if voxels else float("nan")


def tally_labels(labels: Any, image: Any = None, first: int = 0) -> Tally:
    """Count a whole mask, plane by plane.

    Parameters
    ----------
    labels : array-like of int
        Read plane by plane, so it may be lazy.
    image : array-like, optional
        Of the same shape, one channel.
    first : int
        Number of the first plane.

    Returns
    -------
    Tally
    """
    found: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for k in range(labels.shape[0]):
        plane = np.asarray(labels[k]).ravel()
        grey = None if image is None else np.asarray(image[k]).ravel()
        found.append(_count(plane, grey))
    return _gather(found, first)


def tally_patches(patches: Sequence[Patch], image: Any = None) -> Tally | None:
    """Count by how much patches change a mask; None for none.

    Parameters
    ----------
    patches : sequence of Patch
        Of one edit.
    image : array-like, optional
        Of the mask's shape, one channel.

    Returns
    -------
    Tally or None
    """
    if not patches:
        return None
    start = min(p.box[0].start for p in patches)
    stop = max(p.box[0].stop for p in patches)
    per_plane: list[list[tuple[Any, Any, Any]]] = [[] for _ in range(start, stop)]
    for patch in patches:
        where = patch.where()
        old, new = patch.old.unpack(), patch.new.unpack()
        grey = None if image is None else np.asarray(image[patch.box])[where]
        ends = np.cumsum(np.count_nonzero(where.reshape(len(where), -1), axis=1))
        begin = 0
        for k, end in enumerate(ends.tolist()):
            if end > begin:
                part = slice(begin, end)
                some = None if grey is None else grey[part]
                row = per_plane[patch.box[0].start - start + k]
                values, voxels, total = _count(_part(new, part), some)
                row.append((values, voxels, total))
                values, voxels, total = _count(_part(old, part), some)
                row.append((values, -voxels, -total))
            begin = end
    merged = [
        tuple(np.concatenate(parts) for parts in zip(*row, strict=True))
        if row
        else (np.zeros(0, np.int64),) * 3
        for row in per_plane
    ]
    return _gather(merged, start)


def _part(values: NDArray[Any] | int, part: slice) -> NDArray[Any]:
    if isinstance(values, int):
        return np.full(part.stop - part.start, values, np.int64)
    return values[part]


def _count(
    labels: NDArray[Any], grey: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    if labels.size and 0 <= labels.min() and labels.max() < 4096:
        small = labels if labels.dtype.kind in "iu" else labels.astype(np.int64)
        voxels = np.bincount(small)
        values = np.flatnonzero(voxels)
        index, counts = small, voxels[values]
        totals: NDArray[Any] = np.zeros(len(values))
        if grey is not None:
            totals = np.bincount(index, _finite(grey))[values]
        return values, counts, totals
    values, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    totals = np.zeros(len(values))
    if grey is not None:
        totals = np.bincount(index.ravel(), _finite(grey), len(values))
    return values.astype(np.int64), counts.astype(np.int64), totals


def _finite(grey: NDArray[Any]) -> NDArray[Any]:
    return np.nan_to_num(grey, posinf=0, neginf=0) if grey.dtype.kind == "f" else grey


def _gather(rows: Sequence[tuple[Any, ...]], first: int) -> Tally:
    parts = [values for values, _, _ in rows if len(values)]
    values = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    voxels = np.zeros((len(values), len(rows)), np.int64)
    intensity = np.zeros(len(values))
    for k, (own, counts, totals) in enumerate(rows):
        place = np.searchsorted(values, own)
        np.add.at(voxels[:, k], place, counts)
        np.add.at(intensity, place, totals)
    return Tally(first, values.astype(np.int64), voxels, intensity)
