"""How much of each class a mask holds, and how far two masks agree."""

from __future__ import annotations

from napari_medurwkv.measure.agreement import (
    Agreement,
    ClassAgreement,
    aggregated_jaccard,
    agreement,
)
from napari_medurwkv.measure.comparison import Comparison, compare
from napari_medurwkv.measure.intensities import Intensities, measure_intensities
from napari_medurwkv.measure.lesions import LesionAgreement, lesion_agreement
from napari_medurwkv.measure.shape import Shape, measure_shape
from napari_medurwkv.measure.structures import StructureMeasure, measure_structures
from napari_medurwkv.measure.surfaces import SurfaceAgreement, surface_agreement
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
    "Comparison",
    "Intensities",
    "LesionAgreement",
    "Shape",
    "StructureMeasure",
    "SurfaceAgreement",
    "aggregated_jaccard",
    "agreement",
    "class_counts",
    "class_measures",
    "compare",
    "lesion_agreement",
    "measure_intensities",
    "measure_shape",
    "measure_structures",
    "measures_from_counts",
    "object_measure",
    "surface_agreement",
]
