"""How much of each class a mask holds, and how far two masks agree."""

from __future__ import annotations

from napari_medurwkv.measure.agreement import (
    Agreement,
    ClassAgreement,
    aggregated_jaccard,
    agreement,
)
from napari_medurwkv.measure.volumes import (
    ClassMeasure,
    class_counts,
    class_measures,
    measures_from_counts,
    object_measure,
)

__all__ = [
    "Agreement",
    "ClassAgreement",
    "ClassMeasure",
    "aggregated_jaccard",
    "agreement",
    "class_counts",
    "class_measures",
    "measures_from_counts",
    "object_measure",
]
