"""Small NIfTI files of every kind."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def save_nifti(tmp_path):
    """Write an array as NIfTI through nibabel; header fields by keyword."""

    def save(
        array,
        affine=None,
        name="image.nii.gz",
        *,
        codes=(1, 1),
        kind=nib.Nifti1Image,
        **fields,
    ):
        affine = np.diag([-2.0, 3.0, 4.0, 1.0]) if affine is None else affine
        image = kind(array, affine)
        sform, qform = codes
        image.set_sform(affine, sform)
        if qform is not None:
            image.set_qform(affine, qform)
        for key, value in fields.items():
            image.header[key] = value
        path = tmp_path / name
        nib.save(image, path)
        return path

    return save
