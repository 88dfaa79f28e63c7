"""A real brain, stored in different orders, by the real network and through files."""

from __future__ import annotations

from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest

from napari_medurwkv import load_model, segment
from napari_medurwkv.io import write_labels

# One of each axis order, with and without mirrored axes; benchmarks/orientations.py
# goes through all 24.
CODES = ("AIL", "LAI", "SPL")


def _segment(path, folder, model):
    result = segment(path, model, device="cpu")
    target = folder / f"{path.name.partition('.')[0]}_mask.nii.gz"
    write_labels(target, result.labels, result.geometry, classes=result.classes)
    return nib.load(path), nib.load(target)


def _assert_same_grid(image, mask):
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(mask.header.get_zooms(), image.header.get_zooms())
    for code in ("sform_code", "qform_code"):
        assert int(mask.header[code]) == int(image.header[code])


def _world(image):
    """Voxel values by their place: in the order of nibabel's RAS+."""
    return nib.as_closest_canonical(image)


@pytest.mark.slow
def test_one_brain_has_one_mask_in_the_world(shared_data, tmp_path):
    model = load_model("brain-tissue")
    pairs = []
    for code in CODES:
        path = shared_data / "orientations" / f"{code}.nii.gz"
        image, mask = _segment(path, tmp_path, model)
        _assert_same_grid(image, mask)
        values, counts = np.unique(np.asarray(mask.dataobj), return_counts=True)
        assert set(values) == {0, 1, 2, 3}
        assert counts.min() > 1000
        pairs.append((_world(image), _world(mask)))
    for (image, mask), (next_image, next_mask) in pairwise(pairs):
        # The same brain on the same grid, to begin with.
        np.testing.assert_allclose(image.affine, next_image.affine, atol=1e-3)
        np.testing.assert_array_equal(image.dataobj, next_image.dataobj)
        np.testing.assert_array_equal(mask.dataobj, next_mask.dataobj)


@pytest.mark.slow
def test_an_oblique_scan_keeps_its_grid(shared_data, tmp_path):
    path = shared_data / "volumes" / "t2_oblique.nii.gz"
    image, mask = _segment(path, tmp_path, "brain-tissue")
    _assert_same_grid(image, mask)
    assert np.count_nonzero(np.asarray(mask.dataobj)) > 10000
