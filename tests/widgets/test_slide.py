"""A slide larger than memory: read in parts, into a mask on the disk, shown lazily."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_medurwkv.io import LazyArray, pyramid_mask
from napari_medurwkv.widgets import layer_image, segment_run


@pytest.fixture
def slide(tmp_path, monkeypatch):
    """A zarr image that counts as large, and where masks go."""
    monkeypatch.setattr(layer_image, "LARGE_MASK", 1000)
    monkeypatch.setattr(pyramid_mask, "SMALLEST", 32)
    folder = tmp_path / "masks"
    folder.mkdir()
    monkeypatch.setattr(segment_run, "new_mask_path", lambda: folder / "mask")
    y, x = np.ogrid[:160, :200]
    values = (np.sin(y / 9) + np.cos(x / 11)).astype(np.float32)
    array = zarr.create_array(
        tmp_path / "slide", shape=values.shape, dtype="f4", chunks=(64, 64)
    )
    array[...] = values
    return array, values, folder


def test_a_slide_becomes_a_lazy_mask(viewer, panel, slide, engine, segment, masks):
    array, values, _ = slide
    viewer.add_image(array, name="slide", scale=(0.5, 0.5), contrast_limits=(-2, 2))
    segment(panel)
    (mask,) = masks()
    image = engine.calls[0][0]
    assert isinstance(image.array, LazyArray)
    assert image.array.levels == (array,)
    assert mask.multiscale
    assert not mask.editable
    expected = engine.answer(values)
    np.testing.assert_array_equal(np.asarray(mask.data[0]), expected)
    np.testing.assert_array_equal(np.asarray(mask.data[1]), expected[::4, ::4])
    np.testing.assert_allclose(mask.scale, (0.5, 0.5))
    # And that is what is drawn, not what was there before the run.
    step = 4**mask.data_level
    np.testing.assert_array_equal(mask._slice.image.raw, expected[::step, ::step])
    block = mask.metadata["medurwkv"]
    assert block["complete"]
    assert block["original"] is None
    assert "export it to keep it" in panel.status
    rows = panel.result.table.rows()
    assert rows[0][2].replace("\u202f", "") == str(int((expected == 1).sum()))


def test_the_masks_of_cancelled_runs_go(viewer, panel, slide, engine, masks, qtbot):
    array, _, folder = slide
    engine.gated = True
    viewer.add_image(array, name="slide", contrast_limits=(-2, 2))
    qtbot.waitUntil(lambda: panel.ready)
    panel.start()
    assert (folder / "mask").exists()
    panel.cancel()
    qtbot.waitUntil(lambda: not panel.running)
    assert not masks()
    assert not (folder / "mask").exists()


def test_small_lazy_layers_get_masks_that_can_be_edited(
    viewer, panel, engine, segment, masks, tmp_path
):
    array = zarr.create_array(tmp_path / "a", shape=(60, 50), dtype="f4", chunks=(9, 9))
    array[...] = np.random.default_rng(0).normal(size=(60, 50))
    viewer.add_image(array, contrast_limits=(-2, 2))
    segment(panel)
    (mask,) = masks()
    assert isinstance(mask.data, np.ndarray)
    assert mask.editable
