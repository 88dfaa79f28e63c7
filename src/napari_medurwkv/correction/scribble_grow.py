"""Grow from scribbles: a few strokes per class spread over the image."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage
from skimage.segmentation import random_walker, watershed

from napari_medurwkv.correction.watch import SILENT, Watch
from napari_medurwkv.errors import CorrectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["grow_from_scribbles"]


def grow_from_scribbles(
    labels: NDArray[Any],
    spacing: Sequence[float],
    *,
    image: NDArray[Any],
    scribbles: NDArray[Any],
    method: Literal["watershed", "random walker"] = "watershed",
    edges_mm: float = 1.0,
    stiffness: float = 130.0,
    over: Sequence[int] | None = None,
    watch: Watch = SILENT,
) -> NDArray[Any]:
    """Spread strokes over a block until they meet.

    Parameters
    ----------
    labels : ndarray of integers
        2D or 3D block of a mask.
    spacing : sequence of float, mm
        Voxel size per axis.
    image : ndarray
        The same block of the image, one channel.
    scribbles : ndarray of integers
        The same block: -1 where nothing is drawn, else the class that was; 0 says
        "background".
    method : {"watershed", "random walker"}
        "watershed" floods the image's gradient and is quick. "random walker" goes by
        differences of intensity and does better on noise and weak edges.
    edges_mm : float
        Scale of the gradient's Gaussian derivative, for "watershed".
    stiffness : float
        How much a difference of intensity holds up the random walker (its beta).
    over : sequence of int, optional
        Values that may change; by default background and the classes drawn.
    watch : Watch
        Told before and after.

    Returns
    -------
    ndarray
        A new block; the strokes themselves have their class wherever they may.

    Raises
    ------
    CorrectionError
        If fewer than two classes were drawn, background counted.
    """
    drawn = np.unique(scribbles[scribbles >= 0])
    if len(drawn) < 2:
        raise CorrectionError(
            "Draw at least two kinds of strokes, for example one class and background."
        )
    watch.at(0.0)
    markers = np.zeros(labels.shape, np.int32)
    for number, value in enumerate(drawn, 1):
        markers[scribbles == value] = number
    values = np.nan_to_num(np.asarray(image, np.float32))
    if method == "watershed":
        sigma = [max(edges_mm / s, 0.5) for s in spacing]
        steep = np.zeros(values.shape, np.float32)
        for axis, size in enumerate(spacing):
            order = [1 if a == axis else 0 for a in range(values.ndim)]
            steep += (ndimage.gaussian_filter(values, sigma, order=order) / size) ** 2
        watch.at(0.4)
        spread = watershed(np.sqrt(steep), markers)
    else:
        spread = _walk(values, markers, spacing, stiffness)
    watch.at(0.9)
    allowed = np.asarray((0, *drawn) if over is None else tuple(over))
    after = labels.copy()
    may = np.isin(labels, allowed)
    after[may] = drawn[spread[may] - 1].astype(labels.dtype)
    watch.at(1.0)
    return after


def _walk(
    values: NDArray[np.float32],
    markers: NDArray[np.int32],
    spacing: Sequence[float],
    stiffness: float,
) -> NDArray[Any]:
    low, high = np.percentile(values, (1, 99))
    scaled = np.clip((values - low) / max(float(high - low), 1e-12), 0, 1)
    with warnings.catch_warnings():
        # It recommends faster solvers that need further packages.
        warnings.simplefilter("ignore")
        walked: NDArray[Any] = random_walker(
            scaled, markers, beta=stiffness, mode="cg_j", tol=1e-3, spacing=spacing
        )
    return walked
