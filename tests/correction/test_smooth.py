from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medurwkv.correction import smooth as module
from napari_medurwkv.correction.smooth import gaussian_radii, median_sizes, smooth
from napari_medurwkv.correction.watch import Watch
from napari_medurwkv.errors import CancelledError, CorrectionError

from .conftest import blocks, near, quick


def weighted(mask, spacing, mm):
    """Blur by summing over all offsets at once, with the border repeated."""
    radii = gaussian_radii(mm, spacing)
    padded = np.pad(mask.astype(float), [(r, r) for r in radii], mode="edge")
    total, out = 0.0, np.zeros(mask.shape)
    for offset in np.ndindex(*(2 * r + 1 for r in radii)):
        away = [
            ((o - r) * s / mm) ** 2
            for o, r, s in zip(offset, radii, spacing, strict=True)
        ]
        weight = math.exp(-0.5 * sum(away))
        part = tuple(slice(o, o + n) for o, n in zip(offset, mask.shape, strict=True))
        out += weight * padded[part]
        total += weight
    return np.round(out / total, 5)


def smooth_one(mask, spacing, method, mm):
    if method == "median":
        sizes = median_sizes(mm, spacing)
        padded = np.pad(mask, [(n // 2, n // 2) for n in sizes], mode="edge")
        view = np.lib.stride_tricks.sliding_window_view(padded, sizes)
        return view.mean(axis=tuple(range(mask.ndim, 2 * mask.ndim))) > 0.5
    if method == "gaussian":
        return weighted(mask, spacing, mm) >= 0.5
    if method == "opening":
        return near(~near(~mask, mm, spacing), mm, spacing)
    room = [(math.floor(mm * (1 + 1e-6) / s),) * 2 for s in spacing]
    roomy = np.pad(mask, room, mode="edge")
    closed = ~near(~near(roomy, mm, spacing), mm, spacing)
    return closed[
        tuple(slice(r, n - r) for (r, _), n in zip(room, closed.shape, strict=True))
    ]


@quick
@given(
    blocks(side=6),
    st.floats(0.4, 2.5),
    st.sampled_from(["median", "gaussian", "opening", "closing"]),
    st.sampled_from([1, 3, 48]),
)
def test_each_class_is_smoothed_as_defined(block, mm, method, slab):
    labels, spacing = block
    module._TILE = slab
    try:
        after = smooth(labels, spacing, method=method, mm=mm)
    finally:
        module._TILE = 48
    expected, gains = labels.copy(), []
    for value in (1, 2, 3):
        mask = labels == value
        if mask.any():
            smoothed = smooth_one(mask, spacing, method, mm)
            expected[mask & ~smoothed] = 0
            gains.append((value, smoothed & ~mask))
    for value, gained in gains:
        expected[gained & (expected == 0)] = value
    np.testing.assert_array_equal(after, expected)
    if method in ("opening", "closing"):
        one = np.where(labels == 1, 1, 0).astype(np.uint8)
        once = smooth(one, spacing, method=method, mm=mm)
        if method == "opening":
            twice = smooth(once, spacing, method=method, mm=mm)
            np.testing.assert_array_equal(twice, once)


@quick
@given(blocks(side=6), st.floats(0.4, 2), st.sampled_from([1, 3, 48]))
def test_jointly_the_strongest_class_wins(block, mm, slab):
    labels, spacing = block
    if not (labels == 1).any() and not (labels == 2).any():
        return
    module._TILE = slab
    try:
        after = smooth(labels, spacing, method="joint", mm=mm, classes=[1, 2])
    finally:
        module._TILE = 48
    weights = np.stack([weighted(labels == c, spacing, mm) for c in range(4)])
    first = weights[:3]
    ranked = np.sort(first, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-4  # rounding may turn what is closer
    expected = first.argmax(axis=0)
    clear &= labels != 3
    np.testing.assert_array_equal(after[clear], expected[clear])
    np.testing.assert_array_equal(after[labels == 3], 3)


def test_joint_smoothing_opens_no_gap_between_classes():
    labels = np.ones((30, 30), np.uint8)
    labels[:, 15:] = 2
    labels[10:14, 13:17] = 1
    after = smooth(labels, (1, 1), method="joint", mm=2)
    assert (after != 0).all()
    assert len(np.unique(after[12])) == 2


def test_smoothing_can_be_cancelled():
    labels = np.ones((4, 4), np.uint8)
    with pytest.raises(CancelledError, match="as it was"):
        smooth(labels, (1, 1), method="median", mm=1, watch=Watch(cancel=lambda: True))


def test_progress_grows_up_to_one():
    told = []
    labels = np.zeros((9, 9), np.uint8)
    labels[:4], labels[5:] = 1, 2
    smooth(labels, (1, 1), method="gaussian", mm=1, watch=Watch(told.append))
    assert told == sorted(told)
    assert told[-1] == 1


def test_no_radius_is_refused():
    with pytest.raises(CorrectionError, match="more than 0"):
        smooth(np.zeros((3, 3), np.uint8), (1, 1), method="joint", mm=0)
