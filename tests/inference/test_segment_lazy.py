"""Images that stay on the disk: the same masks, read in parts, into arrays there."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import zarr

from napari_medurwkv.errors import OutputError
from napari_medurwkv.inference import segment
from napari_medurwkv.io import LazyArray, lazy_image


@pytest.fixture
def picture(rng):
    return rng.integers(0, 255, (150, 110), np.uint8)


@pytest.fixture
def fake(model, networks, card):
    return model(networks["convolution"](1, 3), card(output_values=(0, 1, 2)))


def _in_zarr(values, path):
    array = zarr.create_array(
        path, shape=values.shape, dtype=values.dtype, chunks=(40, 50)
    )
    array[...] = values
    return array


def _in_a_map(values, path):
    np.save(path.with_suffix(".npy"), values)
    return np.load(path.with_suffix(".npy"), mmap_mode="r")


STORES = {
    "zarr": _in_zarr,
    "dask": lambda values, path: dask.array.from_array(values, chunks=(40, 50)),
    "memory map": _in_a_map,
}


@pytest.mark.parametrize("store", list(STORES))
def test_any_store_gives_the_same_mask(store, picture, fake, tmp_path):
    lazy = STORES[store](picture, tmp_path / "image")
    expected = segment(picture, fake, device="cpu")
    result = segment(lazy, fake, device="cpu")
    assert len(np.unique(expected.labels)) == 3
    np.testing.assert_array_equal(result.labels, expected.labels)
    assert result.record.input.sha256 == expected.record.input.sha256


def test_a_mask_can_be_written_into_zarr(picture, fake, tmp_path):
    out = zarr.create_array(
        tmp_path / "mask", shape=picture.shape, dtype=np.uint8, chunks=(32, 64)
    )
    result = segment(_in_zarr(picture, tmp_path / "image"), fake, device="cpu", out=out)
    assert result.labels is out
    expected = segment(picture, fake, device="cpu").labels
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "mask")[...], expected)


def test_a_volume_in_zarr_into_a_mask_in_zarr(
    volume_card, model, networks, rng, tmp_path
):
    values = rng.random((7, 40, 36)).astype(np.float32)
    fake = model(networks["convolution"](3, 2), volume_card(slice_axis=1))
    array = zarr.create_array(
        tmp_path / "image", shape=values.shape, dtype=np.float32, chunks=(3, 20, 20)
    )
    array[...] = values
    out = zarr.create_array(
        tmp_path / "mask", shape=values.shape, dtype=np.uint8, chunks=(3, 20, 20)
    )
    image = lazy_image(array, spacing=(2, 1, 1))
    segment(image, fake, device="cpu", out=out)
    from napari_medurwkv.io import image_from_array

    plain = image_from_array(values, spacing=(2, 1, 1))
    expected = segment(plain, fake, device="cpu").labels
    np.testing.assert_array_equal(out[...], expected)


def test_an_array_of_another_type_is_refused(picture, fake, tmp_path):
    out = zarr.create_array(tmp_path / "mask", shape=picture.shape, dtype=np.uint16)
    with pytest.raises(OutputError, match="uint8"):
        segment(picture, fake, device="cpu", out=out)


def test_of_a_pyramid_the_level_of_the_working_spacing_is_read(
    model, networks, card, rng
):
    """Every pixel twice as large at each level, so that nothing is lost on the way."""

    class Counting:
        def __init__(self, array):
            self._array, self.shape, self.dtype = array, array.shape, array.dtype
            self.read = 0

        def __getitem__(self, index):
            part = self._array[index]
            self.read += part.size
            return part

    coarse = rng.random((40, 30)).astype(np.float32)
    levels = [Counting(np.kron(coarse, np.ones((n, n), np.float32))) for n in (4, 2, 1)]
    the_card = card(spacing=(2.0, 2.0), patch_size=(16, 16))
    fake = model(networks["threshold"](), the_card)
    image = lazy_image(levels, spacing=(1, 1))
    result = segment(image, fake, device="cpu")
    assert levels[0].read == levels[0]._array.size  # for its fingerprint alone
    assert levels[1].read > 0
    assert levels[2].read == 0
    assert result.labels.shape == (160, 120)
    # Interpolated borders aside, the mask is that of the pixels.
    inner = result.labels[1::4, 1::4]
    assert np.mean(inner == (coarse > 0.5)) > 0.95


def test_stored_pieces_are_read_once(picture, fake):
    class Counting:
        chunks = (40, 50)

        def __init__(self, array):
            self._array, self.shape, self.dtype = array, array.shape, array.dtype
            self.rows = []

        def __getitem__(self, index):
            rows = index[0] if isinstance(index, tuple) else index
            self.rows.append((rows.start, rows.stop))
            return self._array[index]

    from napari_medurwkv.inference.intensity import fit_intensity
    from napari_medurwkv.inference.plan import make_plan

    counting = Counting(picture)
    image = lazy_image(counting)
    plan = make_plan(image.geometry, fake.card, 0.5)
    scale = fit_intensity(fake.card.intensity, image.array, planes=False)
    counting.rows.clear()
    source = plan.source(image, fake.card, scale)
    for row in range(len(plan.grid.rows.starts)):
        source.rows(0, *plan.grid.rows.covered(row))
    assert counting.rows == [(0, 40), (40, 80), (80, 120), (120, 150)]
    assert isinstance(image.array, LazyArray)


def test_a_cancelled_run_does_not_read_the_rest_for_its_fingerprint(picture, fake):
    rows = []

    def note(block, block_info=None):
        if block.size and block_info:
            rows.append(block_info[0]["array-location"][0][0])
        return block

    array = dask.array.from_array(picture, chunks=(10, 110)).map_blocks(
        note, dtype=np.uint8, meta=np.zeros((0, 0), np.uint8)
    )
    calls = iter(range(1000))
    rows.clear()

    def cancel():
        if next(calls) == 2:
            rows.clear()  # of the look at the intensities
        return next(calls) > 12

    result = segment(array, fake, device="cpu", cancel=cancel, keep_partial=True)
    assert 0 < result.fraction < 1
    assert max(rows) < 140
    assert result.record.input.sha256_of == "header"
    whole = segment(array, fake, device="cpu").record.input
    assert whole.sha256_of == "array"
    assert whole.sha256 != result.record.input.sha256
