"""Files in and out: images into display order, masks onto their image's grid."""

from __future__ import annotations

from napari_medurwkv.io.digest import file_sha256, source_sha256
from napari_medurwkv.io.foreign import (
    METADATA_KEY,
    LayerGeometry,
    geometry_from_layer_transform,
    image_from_layer,
    layer_metadata,
)
from napari_medurwkv.io.identify import is_dicom_folder
from napari_medurwkv.io.image import Image, image_from_array
from napari_medurwkv.io.label_names import LabelName, default_color
from napari_medurwkv.io.lazy import LazyArray, chunk_sizes, lazy_image
from napari_medurwkv.io.read import (
    frame_count,
    is_label_file,
    read_image,
    read_labels,
    supported_suffixes,
)
from napari_medurwkv.io.safe_write import (
    Output,
    text_output,
    write_all_safely,
    write_safely,
    write_text_safely,
)
from napari_medurwkv.io.write import (
    LabelClass,
    label_suffixes,
    labels_output,
    refuse_source,
    smallest_labels,
    write_labels,
)

__all__ = [
    "METADATA_KEY",
    "Image",
    "LabelClass",
    "LabelName",
    "LayerGeometry",
    "LazyArray",
    "Output",
    "chunk_sizes",
    "default_color",
    "file_sha256",
    "frame_count",
    "geometry_from_layer_transform",
    "image_from_array",
    "image_from_layer",
    "is_dicom_folder",
    "is_label_file",
    "label_suffixes",
    "labels_output",
    "layer_metadata",
    "lazy_image",
    "read_image",
    "read_labels",
    "refuse_source",
    "smallest_labels",
    "source_sha256",
    "supported_suffixes",
    "text_output",
    "write_all_safely",
    "write_labels",
    "write_safely",
    "write_text_safely",
]
