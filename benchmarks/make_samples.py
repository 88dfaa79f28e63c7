"""Make the bundled sample images from data that other packages carry.

Needs nilearn, scikit-image, and stardist's wheel or source archive as a file; stardist
itself is not installed::

    pip download stardist --no-deps
    python benchmarks/make_samples.py stardist-*.whl

The files are the same, byte for byte, as long as the packages' data are.
"""

from __future__ import annotations

import argparse
import gzip
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import tifffile
from nilearn.datasets import struct as nilearn_templates
from scipy import ndimage
from skimage import data as skimage_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = Path(__file__).resolve().parents[1] / "src/napari_medurwkv/samples"
GREY, WHITE, CSF = 1, 2, 3
# Rows and columns of the stained picture: one gland and the tissue around it.
GLAND = (slice(192, 512), slice(160, 480))
MNI_SPACE = 4  # NIfTI's code for MNI152 coordinates
MARGIN = 3  # voxels of air kept around the brain


def write_nuclei(archive: Path) -> None:
    """Write fluorescent nuclei, with every nucleus labelled."""
    with zipfile.ZipFile(archive) as wheel:
        for stem, name in (("img2d", "nuclei"), ("mask2d", "nuclei_labels")):
            stored = wheel.read(f"stardist/data/images/{stem}.tif")
            picture = tifffile.imread(io.BytesIO(stored))
            if picture.max() > 255:
                raise ValueError(f"{stem} does not fit 8 bits")
            iio.imwrite(SAMPLES / f"{name}.png", picture.astype(np.uint8))


def write_tissue() -> None:
    """Write stained tissue in colour."""
    iio.imwrite(SAMPLES / "tissue.png", skimage_data.immunohistochemistry()[GLAND])


def halve(volume: NDArray[Any]) -> NDArray[Any]:
    """Keep every second voxel of a smoothed volume: no centre moves."""
    for axis in range(3):
        volume = ndimage.convolve1d(volume, [0.25, 0.5, 0.25], axis, mode="nearest")
    return volume[::2, ::2, ::2]


def write_brain() -> None:
    """Write the template of 152 brains at 2 mm, cropped, and its tissues."""
    template = nib.load(nilearn_templates.MNI152_FILE_PATH)
    t1 = np.asarray(template.dataobj, np.float64)
    brain = t1 > 0
    grey, white = (
        np.asarray(nib.load(path).dataobj, np.float64) / 255 * brain
        for path in (
            nilearn_templates.GM_MNI152_FILE_PATH,
            nilearn_templates.WM_MNI152_FILE_PATH,
        )
    )
    csf = np.clip(brain - grey - white, 0, 1)
    shares = np.stack([halve(share) for share in (1.0 - brain, grey, white, csf)])
    labels = np.argmax(shares, 0).astype(np.uint8)
    image = np.rint(halve(t1)).astype(np.uint8)

    occupied = ndimage.find_objects((image > 0).astype(np.int8))[0]
    crop = tuple(
        slice(max(s.start - MARGIN, 0), min(s.stop + MARGIN, n))
        for s, n in zip(occupied, image.shape, strict=True)
    )
    affine = template.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (affine @ [*(s.start for s in crop), 1])[:3]
    for name, volume in (("brain", image), ("brain_tissues", labels)):
        nifti = nib.Nifti1Image(volume[crop], affine)
        nifti.set_sform(affine, MNI_SPACE)
        nifti.set_qform(affine, MNI_SPACE)
        nifti.header.set_xyzt_units("mm")
        # mtime=0 leaves the day out of the file.
        packed = gzip.compress(nifti.to_bytes(), compresslevel=9, mtime=0)
        (SAMPLES / f"{name}.nii.gz").write_bytes(packed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stardist", type=Path, help="stardist's wheel")
    write_nuclei(parser.parse_args().stardist)
    write_tissue()
    write_brain()


if __name__ == "__main__":
    main()
