"""The bundled images are what they say, small, and free to pass on."""

from __future__ import annotations

import subprocess
import sys

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from napari_medurwkv.samples import find_sample, list_samples

SAMPLES = {sample.name: sample for sample in list_samples()}


def test_names_and_models() -> None:
    assert list(SAMPLES) == ["nuclei", "tissue", "brain"]
    assert {s.model for s in SAMPLES.values()} == {"nuclei", "brain-tissue"}
    assert {s.dimensions for s in SAMPLES.values()} == {2, 3}


def test_find_sample() -> None:
    assert find_sample("brain") == SAMPLES["brain"]
    with pytest.raises(KeyError, match="nuclei, tissue, brain"):
        find_sample("lung")


def test_folder_is_small_and_every_file_is_in_the_notice() -> None:
    folder = SAMPLES["nuclei"].path.parent
    listed = {p for s in SAMPLES.values() for p in (s.path, s.reference_path) if p}
    data = {p for p in folder.iterdir() if p.suffix in (".png", ".gz")}
    assert data == listed
    assert sum(p.stat().st_size for p in data) < 2_000_000
    notice = (folder / "NOTICE.md").read_text("utf-8")
    assert all(p.name in notice for p in data)


@pytest.mark.parametrize(
    "phrase",
    [
        "Copyright (c) 2018-2025, Uwe Schmidt, Martin Weigert",
        "Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre",
        "provided\nthat the above copyright notice appear in all copies",
        "No known copyright restrictions",
    ],
)
def test_notice_carries_the_terms(phrase: str) -> None:
    notice = (SAMPLES["nuclei"].path.parent / "NOTICE.md").read_text("utf-8")
    assert phrase in notice


def test_nuclei_and_their_labels_lie_on_one_grid() -> None:
    sample = SAMPLES["nuclei"]
    picture, labels = iio.imread(sample.path), iio.imread(sample.reference_path)
    assert picture.shape == labels.shape == (512, 512)
    assert picture.dtype == labels.dtype == np.uint8
    assert len(np.unique(labels)) == 126
    # Objects are the bright part: a flip of either would not pass.
    assert picture[labels > 0].mean() > 2 * picture[labels == 0].mean()


def test_tissue_is_a_colour_picture() -> None:
    picture = iio.imread(SAMPLES["tissue"].path)
    assert picture.shape == (320, 320, 3)
    assert picture.dtype == np.uint8


def test_brain_geometry() -> None:
    sample = SAMPLES["brain"]
    for path in (sample.path, sample.reference_path):
        nifti = nib.load(path)
        assert nifti.shape == (79, 98, 81)
        assert nifti.get_data_dtype() == np.uint8
        expected = np.diag([2.0, 2.0, 2.0, 1.0])
        expected[:3, 3] = -78, -114, -72
        for affine, code in (
            nifti.get_sform(coded=True),
            nifti.get_qform(coded=True),
        ):
            np.testing.assert_array_equal(affine, expected)
            assert code == 4
        assert nifti.header.get_xyzt_units()[0] == "mm"


def test_brain_tissues_follow_the_image() -> None:
    sample = SAMPLES["brain"]
    image = np.asarray(nib.load(sample.path).dataobj)
    labels = np.asarray(nib.load(sample.reference_path).dataobj)
    assert np.unique(labels).tolist() == [0, 1, 2, 3]
    air, grey, white, csf = ndimage.mean(image, labels, range(4))
    assert air < csf < grey < white
    # Litres of a brain: matter between 1.4 and 2, and fluid.
    litres = np.bincount(labels.ravel()) * 8e-6
    assert 1.4 < litres[1] + litres[2] < 2.0
    assert 0.05 < litres[3] < 0.4


def test_brain_lies_where_the_template_does() -> None:
    template = pytest.importorskip("nilearn.datasets").load_mni152_template(1)
    sample = nib.load(SAMPLES["brain"].path)
    image = np.asarray(sample.dataobj, np.float64)
    to_template = np.linalg.inv(template.affine) @ sample.affine
    there = ndimage.affine_transform(
        np.asarray(template.dataobj),
        to_template[:3, :3],
        to_template[:3, 3],
        output_shape=image.shape,
        order=1,
    )
    assert np.corrcoef(there.ravel(), image.ravel())[0, 1] > 0.995


def test_listing_imports_neither_torch_nor_image_readers() -> None:
    code = (
        "import sys, napari_medurwkv.samples as s; s.list_samples();"
        "heavy = {'torch', 'napari', 'qtpy', 'nibabel', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
