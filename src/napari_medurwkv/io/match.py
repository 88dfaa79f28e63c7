"""Find how one array was turned to become another, by looking at its values."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["matching_turns"]

# Enough to tell apart all turns of any image that is not empty or symmetric.
SAMPLES = 2048

Turn = tuple[tuple[int, int], ...]


def matching_turns(
    turned: NDArray[Any], original: NDArray[Any], *, colour: bool = False
) -> list[Turn]:
    """List the permutations with flips under which two arrays hold the same values.

    Parameters
    ----------
    turned, original : ndarray
        2D or 3D.
    colour : bool
        Whether both have a trailing colour axis, which stays where it is.

    Returns
    -------
    list of Turn
        Per axis of `turned`: the axis of `original` and +1 or -1. One entry as a rule;
        none where the values differ, several where the image is symmetric.
    """
    ndim = turned.ndim - colour
    if turned.ndim != original.ndim or turned.shape[ndim:] != original.shape[ndim:]:
        return []
    tolerance = _tolerance(original)
    generator = np.random.default_rng(0)
    size = turned.shape[:ndim]
    where = np.stack([generator.integers(0, n, SAMPLES) for n in size])
    sample = turned[tuple(where)]
    found = []
    for axes in itertools.permutations(range(ndim)):
        if tuple(original.shape[axis] for axis in axes) != size:
            continue
        for signs in itertools.product((1, -1), repeat=ndim):
            turn = tuple(zip(axes, signs, strict=True))
            view = apply_turn(original, turn)
            if _same(sample, view[tuple(where)], tolerance) and _all_same(
                turned, view, tolerance
            ):
                found.append(turn)
    return found


def apply_turn(original: NDArray[Any], turn: Turn) -> NDArray[Any]:
    """View an array turned; a trailing colour axis stays last."""
    extra = range(len(turn), original.ndim)
    view = original.transpose(*(axis for axis, _ in turn), *extra)
    return view[tuple(slice(None, None, sign) for _, sign in turn)]


def _tolerance(values: NDArray[Any]) -> float:
    """Allow what scaling in another float type may cost; nothing between integers."""
    if values.dtype.kind in "biu":
        return 0.0
    return 1e-5 * float(np.abs(values).max(initial=0))


def _same(a: NDArray[Any], b: NDArray[Any], tolerance: float) -> bool:
    if a.dtype.kind == "f":
        # The reader of images turns what is not finite into 0.
        a = np.nan_to_num(a, nan=0.0, posinf=0.0, neginf=0.0)
    if a.dtype == b.dtype and tolerance == 0:
        return bool(np.array_equal(a, b))
    difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return bool((difference <= tolerance).all())


def _all_same(turned: NDArray[Any], view: NDArray[Any], tolerance: float) -> bool:
    return all(_same(a, b, tolerance) for a, b in zip(turned, view, strict=True))
