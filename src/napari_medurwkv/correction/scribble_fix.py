"""Fix by scribble: a few strokes of what is right re-decide what is like them.

The present mask and the strokes are evidence of different weight. A ridge classifier
learns from the mask what its classes look like in the network's features, unless the
network knows them itself; its score is where each pixel starts. The strokes then move
scores: most where a pixel lies near, looks the same or belongs to the same island, and
a little everywhere, as far as strokes agree about pixels that were in doubt. A pixel
that nothing speaks about keeps its label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medurwkv.correction.evidence import (
    Evidence,
    describe,
    learn_present,
    solve_strokes,
)
from napari_medurwkv.correction.watch import SILENT, Watch
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["fix_by_scribbles"]

_PER_STROKE = 8
_MOST_POINTS = 120
_CAP, _FLOOR = 4.0, 0.7
_KNOWN = 0.5
"""Dice with the present mask from which on a network is taken to know a class."""


def fix_by_scribbles(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    image: NDArray[Any],
    scribbles: NDArray[Any],
    features: NDArray[Any] | None = None,
    odds: Mapping[int, NDArray[Any]] | None = None,
    reach: float = 8.0,
    everywhere: bool = True,
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Re-decide the labels of a slice by strokes.

    Parameters
    ----------
    labels : (Y, X) ndarray of integers
        A slice of the mask.
    spacing : sequence of float, mm
        Pixel size per axis.
    image : (Y, X) ndarray
        The slice of the image, one channel.
    scribbles : (Y, X) ndarray of integers
        -1 where nothing is drawn, else the class that is right there; 0 is background.
    features : (features, Y, X) ndarray, optional
        What a network has to say of each pixel, as `inference.slice_features` gives it.
        Without them the image's own intensities, smoothed, are all there is.
    odds : mapping of int to (Y, X) ndarray, optional
        Log odds of classes, by the network. Those of a class are taken where they
        agree with the present mask; else a classifier learns it from the mask.
    reach : float
        How far a stroke reaches by itself, in pixels of the finer axis: the standard
        deviation of its influence.
    everywhere : bool
        Whether strokes that agree may also move pixels far away that were in doubt.
    watch : Watch
        Told how far it is.

    Returns
    -------
    ndarray
        A new slice. Strokes have their class; labels that no stroke drew or drew over
        are as they were.

    Raises
    ------
    CorrectionError
        If nothing was drawn, or the block is no slice.
    """
    if labels.ndim != 2:
        raise CorrectionError("Strokes fix one slice at a time: choose this slice.")
    drawn = scribbles >= 0
    if not drawn.any():
        raise CorrectionError("Draw some strokes first.")
    watch.at(0.0)
    after = labels.copy()
    after[drawn] = scribbles[drawn]
    # Strokes over what is right already teach, but choose no label of their own.
    involved = np.unique([*scribbles[drawn].tolist(), *labels[drawn].tolist()])
    if len(involved) < 2:
        watch.at(1.0)
        return after
    strokes = _points(scribbles)
    described = describe(image, features, spacing)
    watch.at(0.3)
    unit = min(spacing)
    sides = (float(spacing[0]) / unit, float(spacing[1]) / unit)
    scores = []
    # Of two classes the second's score is the first's, turned round.
    asked = involved[1:] if len(involved) == 2 else involved
    for number, value in enumerate(asked):
        evidence = Evidence(
            start=_start(described, labels == value, (odds or {}).get(value)),
            looks=described,
            shape=labels.shape,
            sides=sides,
            islands=_islands(labels == value),
        )
        truth = np.where(scribbles.ravel()[strokes.index] == value, 1, -1)
        score = solve_strokes(
            evidence,
            strokes.index,
            truth,
            strokes.count,
            reach=reach,
            everywhere=everywhere,
        )
        scores.append(score.reshape(labels.shape))
        watch.at(0.3 + 0.7 * (number + 1) / len(asked))
    if len(involved) == 2:
        scores.insert(0, -scores[0])
    best = involved[np.argmax(scores, axis=0)]
    may = np.isin(labels, involved) & ~drawn
    after[may] = best[may]
    watch.at(1.0)
    return after


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    index: NDArray[np.intp]
    count: int


def _points(scribbles: NDArray[Any]) -> _Points:
    """Choose a few pixels of each stroke, evenly; strokes are islands of one class."""
    chosen: list[NDArray[np.intp]] = []
    for value in np.unique(scribbles[scribbles >= 0]).tolist():
        numbers, count = ndimage.label(scribbles == value, np.ones((3, 3)))
        flat = numbers.ravel()
        for number in range(1, count + 1):
            pixels = np.flatnonzero(flat == number)
            take = min(len(pixels), _PER_STROKE)
            chosen.append(pixels[np.linspace(0, len(pixels) - 1, take).astype(int)])
    strokes = len(chosen)
    index = np.concatenate(chosen)
    if len(index) > _MOST_POINTS:
        index = index[np.linspace(0, len(index) - 1, _MOST_POINTS).astype(int)]
    return _Points(index, strokes)


def _start(
    described: NDArray[np.float32],
    inside: NDArray[np.bool_],
    odds: NDArray[Any] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score of each pixel before any stroke, never against the present mask."""
    flat = inside.ravel()
    sign = np.where(flat, 1, -1).astype(np.float32)
    margin = None if odds is None else np.asarray(odds, np.float32).ravel()
    if margin is None or _agreement(margin > 0, flat) < _KNOWN:
        margin = learn_present(described, flat)
        return sign * np.clip(sign * margin, _FLOOR, _CAP), margin
    return sign * np.clip(sign * margin, 0, _CAP), margin


def _agreement(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice of two masks."""
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / both if both else 1.0


def _islands(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give each pixel the number of its island; those of none are alone."""
    numbers, _ = ndimage.label(inside)
    flat = numbers.ravel().astype(np.int64)
    return np.where(flat > 0, flat, -1 - np.arange(flat.size))
