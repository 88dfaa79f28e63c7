"""napari's own Save writes masks in their image's geometry."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels

from napari_medurwkv.io import image_from_array
from napari_medurwkv.widgets import writer
from napari_medurwkv.widgets.reader import image_layer


def test_mask_goes_back_onto_its_image(tmp_path):
    image = image_from_array(
        np.zeros((4, 5, 6), np.uint8), affine=np.diag([-1, 1, 2, 1.0])
    )
    _, options, _ = image_layer(image)
    data = np.zeros(image.array.shape, np.uint8)
    data[1, 2, 3] = 1
    layer = Labels(data, metadata=options["metadata"])
    path = str(tmp_path / "mask.nii.gz")
    state = layer.as_layer_data_tuple()[1]
    assert writer.write_labels_layer(path, data, state) == [path]
    saved = nib.load(path)
    np.testing.assert_array_equal(saved.affine, np.diag([-1, 1, 2, 1.0]))
    np.testing.assert_array_equal(
        np.asarray(saved.dataobj), image.geometry.to_source(data)
    )


@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.nii"])
def test_unknown_geometry_is_warned_of(tmp_path, monkeypatch, name):
    warnings = []
    monkeypatch.setattr(writer, "show_warning", warnings.append)
    data = np.eye(4, dtype=np.uint8)
    writer.write_labels_layer(str(tmp_path / name), data, {"name": "plain"})
    assert (tmp_path / name).exists()
    assert "plain" in warnings[0]
