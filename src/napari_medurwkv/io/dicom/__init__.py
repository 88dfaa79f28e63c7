"""DICOM: files, series and enhanced multi-frame images in; segmentations too."""

from __future__ import annotations

from napari_medurwkv.io.dicom.read import (
    dicom_frame_count,
    is_dicom_segmentation,
    list_series,
    read_dicom,
)
from napari_medurwkv.io.dicom.references import source_datasets

__all__ = [
    "dicom_frame_count",
    "is_dicom_segmentation",
    "list_series",
    "read_dicom",
    "source_datasets",
]
