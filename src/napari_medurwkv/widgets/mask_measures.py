"""Measure a mask that is on screen, slab by slab, so that the window has its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medurwkv.checkpoints import ClassInfo
    from napari_medurwkv.geometry import Geometry
    from napari_medurwkv.measure import ClassMeasure

__all__ = ["measure_mask"]


def measure_mask(
    labels: NDArray[Any],
    geometry: Geometry,
    classes: Sequence[ClassInfo],
    *,
    instances: bool,
) -> tuple[ClassMeasure, ...]:
    """Measure every class of a mask.

    Parameters
    ----------
    labels : ndarray of integers
        Class values, or object numbers with `instances`; in any axis order.
    geometry : Geometry
        Of the mask.
    classes : sequence of ClassInfo
        The card's.
    instances : bool
        Whether `labels` numbers objects.
    """
    from napari_medurwkv.measure import class_measures, object_measure

    if not instances:
        return class_measures(labels, geometry, classes)
    kind = next(info for info in classes if info.value != 0)
    return (object_measure(labels, geometry, kind),)
