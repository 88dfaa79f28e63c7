"""Random masks of several classes, and voxels that are no cubes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

quick = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)

SPACINGS = st.sampled_from([0.5, 0.7, 1.0, 1.5, 2.0, 3.3])


@st.composite
def blocks(draw, dims=(2, 3), classes=3, side=9):
    """Give a mask and its spacing: smooth blobs of several classes, with noise."""
    ndim = draw(st.sampled_from(dims))
    shape = tuple(draw(st.integers(2, side)) for _ in range(ndim))
    seed = draw(st.integers(0, 2**32 - 1))
    grain = draw(st.sampled_from([0.0, 0.7, 1.5]))
    rng = np.random.default_rng(seed)
    noise = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=shape), grain) for _ in range(classes)]
    )
    labels = (noise.argmax(axis=0) + 1).astype(np.uint8)
    labels[noise.max(axis=0) < np.quantile(noise.max(axis=0), rng.uniform(0, 0.9))] = 0
    spacing = tuple(draw(SPACINGS) for _ in range(ndim))
    return labels, spacing


def small_masks():
    return hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, max_side=7))


@pytest.fixture
def without_fast(monkeypatch):
    """Hide the optional packages."""
    from napari_medurwkv.correction import components

    for name in ("cc3d", "edt", "fastremap"):
        monkeypatch.setitem(components._FAST, name, None)


def near(mask, radius, spacing):
    """Return all voxels within a radius of true ones, pair by pair."""
    out = np.zeros_like(mask)
    true = np.argwhere(mask) * np.asarray(spacing)
    if not len(true):
        return out
    for index in np.ndindex(mask.shape):
        away = np.sqrt((((np.asarray(index) * spacing) - true) ** 2).sum(axis=1)).min()
        out[index] = away <= radius * (1 + 1e-6)
    return out


def flood(mask, corners=False):
    """Number components by walking from voxel to voxel."""
    numbers = np.zeros(mask.shape, int)
    steps = [
        tuple(o - 1 for o in offset)
        for offset in np.ndindex((3,) * mask.ndim)
        if corners or sum(o != 1 for o in offset) == 1
    ]
    count = 0
    for start in np.ndindex(mask.shape):
        if not mask[start] or numbers[start]:
            continue
        count += 1
        numbers[start] = count
        todo = [start]
        while todo:
            here = todo.pop()
            for step in steps:
                there = tuple(h + s for h, s in zip(here, step, strict=True))
                inside = all(0 <= t < n for t, n in zip(there, mask.shape, strict=True))
                if inside and mask[there] and not numbers[there]:
                    numbers[there] = count
                    todo.append(there)
    return numbers, count
