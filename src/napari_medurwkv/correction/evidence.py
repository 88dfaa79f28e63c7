"""What strokes say about pixels that they do not touch: a classifier in two steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy.linalg import cho_solve, cholesky, solve_triangular

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Evidence", "describe", "learn_present", "solve_strokes"]

_SCALES = (0.0, 1.0, 3.0)
_SAMPLES = 6000
_RIDGE = 1e-3
_CHUNK = 1 << 14

# Shares of the prior variance of scores, in units of a logit squared: what strokes say
# of pixels near that look the same, of the same island, of all that look the same, of
# all that were as much in doubt, and of all.
_NEAR, _ISLAND, _ALIKE, _DOUBT, _ALL = 6.0, 0.3, 0.5, 0.5, 1.0
_AGREED = (0.0, 0.7, 1.0, 1.5, 2.0)
"""How much of the last three is believed after one stroke, two, ...: one is no rule."""
_LOOK, _DOUBT_WIDTH = 0.45, 1.0
_FAR_LIMIT = 1.5
"""No agreement of strokes moves a pixel far away by more: the sure ones stay."""
_ENDS = 3.5
"""Nothing is near beyond so many standard deviations."""
_SHARPNESS, _WEIGHT = 0.5, 0.45


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known of all pixels of a slice.

    Attributes
    ----------
    start : tuple of two ndarray of float32, shape (pixels,)
        Score before any stroke, and the margin of the classifier behind it.
    looks : ndarray of float32, shape (pixels, features)
        From `describe`.
    shape : tuple of int
        Of the slice.
    sides : tuple of float
        Of a pixel, in units of the smaller.
    islands : ndarray of int, shape (pixels,)
        Number of the island of each; negative ones are alone.
    """

    start: tuple[NDArray[np.float32], NDArray[np.float32]]
    looks: NDArray[np.float32]
    shape: tuple[int, int]
    sides: tuple[float, float]
    islands: NDArray[np.int64]


def describe(
    image: NDArray[Any], features: NDArray[Any] | None, spacing: Sequence[float]
) -> NDArray[np.float32]:
    """Describe each pixel by what a network says of it and by smoothed intensities.

    Parameters
    ----------
    image : (Y, X) ndarray
        A slice of the image.
    features : (features, Y, X) ndarray or None
        Of a network.
    spacing : sequence of float, mm
        Pixel size.

    Returns
    -------
    ndarray of float32, shape (pixels, features)
        Two random pixels are about 1 apart.
    """
    values = np.nan_to_num(np.asarray(image, np.float32))
    unit = min(spacing)
    maps = [
        ndimage.gaussian_filter(values, [scale * unit / s for s in spacing])
        for scale in _SCALES
    ]
    if features is not None:
        maps.extend(np.asarray(features, np.float32))
    table = np.stack([one.ravel() for one in maps], axis=1)
    table -= table.mean(axis=0)
    deviation = table.std(axis=0)
    kept = deviation > 1e-6 * max(1e-12, float(deviation.max()))
    table = table[:, kept] / deviation[kept]
    result: NDArray[np.float32] = table / np.float32(max(2 * table.shape[1], 1) ** 0.5)
    return result


def learn_present(
    looks: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Learn what a class of the present mask looks like.

    Parameters
    ----------
    looks : ndarray, shape (pixels, features)
        From `describe`.
    inside : ndarray of bool, shape (pixels,)
        Where the class is.

    Returns
    -------
    ndarray of float32, shape (pixels,)
        Log odds of the class, by ridge regression whose output is then calibrated by
        logistic regression (Platt's scaling). 0 where the mask has only one side.
    """
    if inside.all() or not inside.any():
        return np.zeros(len(looks), np.float32)
    rng = np.random.default_rng(0)
    some = np.concatenate(
        [
            rng.choice(side, min(len(side), _SAMPLES), replace=False)
            for side in (np.flatnonzero(inside), np.flatnonzero(~inside))
        ]
    )
    target = np.where(inside[some], 1.0, -1.0)
    table = np.column_stack([looks[some], np.ones(len(some))]).astype(np.float64)
    normal = table.T @ table / len(some)
    normal[np.diag_indices_from(normal)] += _RIDGE
    weights = np.linalg.solve(normal, table.T @ target / len(some))
    raw = looks @ weights[:-1].astype(np.float32) + np.float32(weights[-1])
    slope, shift = _calibrate(raw[some].astype(np.float64), target)
    margin: NDArray[np.float32] = (slope * raw + shift).astype(np.float32)
    return margin


def _calibrate(
    raw: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[float, float]:
    """Fit log odds = slope * raw + shift, with a weak prior against endless slopes."""
    table = np.column_stack([raw, np.ones(len(raw))])
    found = np.array([1.0, 0.0])
    for _ in range(20):
        wrong = 1 / (1 + np.exp(np.clip(target * (table @ found), -30, 30)))
        slope = table.T @ (target * wrong) / len(raw) - 1e-4 * found
        curve = (table.T * (wrong * (1 - wrong))) @ table / len(raw)
        curve[np.diag_indices(2)] += 1e-4
        step = np.linalg.solve(curve, slope)
        found += step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    return float(found[0]), float(found[1])


def solve_strokes(
    evidence: Evidence,
    points: NDArray[np.intp],
    truth: NDArray[Any],
    strokes: int,
    *,
    reach: float,
    everywhere: bool = True,
) -> NDArray[np.float32]:
    """Return the score of each pixel after the strokes.

    Scores have a Gaussian process prior round `evidence.start`, whose covariance says
    what pixels have in common; the strokes are binary observations. The most likely
    scores are found at the strokes (Rasmussen and Williams, "Gaussian Processes for
    Machine Learning", 2006, section 3.4) and carried to all pixels.

    Parameters
    ----------
    evidence : Evidence
        What is known of all pixels.
    points : ndarray of int, shape (points,)
        Pixels on strokes.
    truth : ndarray, shape (points,)
        1 where the class is right there, else -1.
    strokes : int
        How many strokes there are.
    reach : float
        Standard deviation of what is near, in units of the smaller pixel side.
    everywhere : bool
        Whether strokes matter beyond what is near and the island.

    Returns
    -------
    ndarray of float32, shape (pixels,)
        Above 0 where the class is likely.
    """
    agreed = _AGREED[min(strokes, len(_AGREED)) - 1] if everywhere else 0.0
    start, margin = evidence.start
    near, far = _covariance(evidence, points, points, margin, reach, agreed)
    weights = _most_likely(near + far, start[points].astype(np.float64), truth)
    score = start.copy()
    rows = _movable(evidence, points, reach, agreed)
    for first in range(0, len(rows), _CHUNK):
        part = rows[first : first + _CHUNK]
        near, far = _covariance(evidence, part, points, margin, reach, agreed)
        score[part] += near @ weights
        if agreed:
            score[part] += np.clip(far @ weights, -_FAR_LIMIT, _FAR_LIMIT)
    return score


def _movable(
    evidence: Evidence, points: NDArray[np.intp], reach: float, agreed: float
) -> NDArray[np.intp]:
    """Pixels whose label strokes can change: near, of their islands, or in doubt."""
    away = np.ones(evidence.shape, bool)
    away.flat[points] = False
    distance = ndimage.distance_transform_edt(away, sampling=evidence.sides).ravel()
    own = evidence.islands[points]
    may = distance <= _ENDS * reach
    may |= np.isin(evidence.islands, own[own > 0])
    if agreed:
        may |= np.abs(evidence.start[0]) <= _FAR_LIMIT
    return np.flatnonzero(may)


def _covariance(
    evidence: Evidence,
    rows: NDArray[np.intp],
    points: NDArray[np.intp],
    margin: NDArray[np.float32],
    reach: float,
    agreed: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Covariance of the near and of the far kind, each of shape (rows, points)."""
    look = _squares(evidence.looks[rows], evidence.looks[points]) / (-2 * _LOOK**2)
    place = _squares(_places(evidence, rows), _places(evidence, points))
    near: NDArray[np.float32] = np.asarray(
        _NEAR * np.exp(look + place / (-2 * reach**2)), np.float32
    )
    same = evidence.islands[rows, None] == evidence.islands[points]
    near += np.float32(_ISLAND) * same.astype(np.float32)
    if not agreed:
        return near, np.zeros_like(near)
    doubt = (margin[rows, None] - margin[points]) ** 2 / (-2 * _DOUBT_WIDTH**2)
    far: NDArray[np.float32] = np.float32(agreed) * (
        _ALL + _DOUBT * np.exp(doubt) + _ALIKE * np.exp(look)
    )
    return near, far


def _places(evidence: Evidence, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Where pixels lie, in units of the smaller pixel side."""
    places = np.stack(np.unravel_index(rows, evidence.shape), axis=1)
    result: NDArray[np.float32] = (places * evidence.sides).astype(np.float32)
    return result


def _squares(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distances of all pairs of rows."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    result: NDArray[np.float32] = np.maximum(squares, 0, dtype=np.float32)
    return result


def _most_likely(
    covariance: NDArray[Any], start: NDArray[np.float64], truth: NDArray[Any]
) -> NDArray[np.float32]:
    """Weights w so that `covariance @ w` is the most likely change of the scores."""
    count = len(start)
    lower = cholesky(covariance.astype(np.float64) + 1e-3 * np.eye(count), lower=True)
    found = np.zeros(count)

    def cost(at: NDArray[np.float64]) -> float:
        miss = np.logaddexp(0, -truth * (start + lower @ at) / _SHARPNESS).sum()
        return float(_WEIGHT * miss + at @ at / 2)

    now = cost(found)
    for _ in range(30):
        reached = truth * (start + lower @ found) / _SHARPNESS
        wrong = 1 / (1 + np.exp(np.clip(reached, -30, 30)))
        gradient = found - lower.T @ (_WEIGHT * truth * wrong / _SHARPNESS)
        bent = _WEIGHT * wrong * (1 - wrong) / _SHARPNESS**2
        curve = np.eye(count) + lower.T @ (bent[:, None] * lower)
        step = -cho_solve((cholesky(curve, lower=True), True), gradient)
        length = 1.0
        while cost(found + length * step) > now and length > 1e-4:
            length /= 2
        found += length * step
        before, now = now, cost(found)
        if before - now < 1e-4:
            break
    weights: NDArray[np.float32] = solve_triangular(lower.T, found).astype(np.float32)
    return weights
