"""What several tests of volume formats need."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def itk_affine(image):
    """(4, 4) index to LPS of a SimpleITK image."""
    n = image.GetDimension()
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(n, n)[:3, :3]
    affine[:3, :3] = directions * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return affine


def turned(angles=(20, -30, 50), flip=False):
    """A direction matrix of three rotations, left-handed if flipped."""
    from scipy.spatial.transform import Rotation

    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return matrix @ np.diag([1, 1, -1 if flip else 1])


def itk_image(shape=(4, 5, 6), *, dtype=np.int16, angles=(20, -30, 50), flip=False):
    """An oblique volume with numbers that tell every voxel."""
    values = np.arange(np.prod(shape)).reshape(shape[::-1]).astype(dtype)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 1.3, 2.9))
    image.SetOrigin((-12.5, 30.25, 7.125))
    image.SetDirection(turned(angles, flip).ravel())
    return image


def assert_same_as_itk(image, path):
    """Compare a volume that was read with SimpleITK's reading: values and world."""
    other = sitk.ReadImage(str(path))
    np.testing.assert_allclose(
        image.geometry.lps_affine, itk_affine(other), rtol=0, atol=1e-5
    )
    source = image.geometry.to_source(image.array)
    np.testing.assert_array_equal(source, sitk.GetArrayFromImage(other).T)
