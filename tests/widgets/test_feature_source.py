"""Features for tools: whose, computed once, and never those of another image."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.errors import CancelledError, CorrectionError, DeviceError
from napari_medurwkv.widgets.feature_source import FeatureSource


@pytest.fixture
def source(qtbot, engine):
    made = FeatureSource(engine=engine)
    qtbot.addWidget(made)
    return made


@pytest.fixture
def mask(viewer):
    return viewer.add_labels(np.zeros((4, 20, 24), np.uint8), name="mask")


def test_the_model_that_made_the_mask_is_chosen(source, mask):
    source.offer(mask, 3)
    assert source.entry.name == "brain-tissue"  # made by nobody: one for volumes
    flat = type(mask)(np.zeros((5, 5), np.uint8))
    source.offer(flat, 2)
    assert source.entry.name == "nuclei"
    made = type(mask)(
        np.zeros((4, 5, 5), np.uint8),
        metadata={"medurwkv": {"model": {"name": "nuclei"}}},
    )
    source.offer(made, 3)
    assert source.entry.name == "nuclei"


def test_a_choice_is_kept_for_its_mask(source, mask):
    source.offer(mask, 3)
    source.setCurrentText("of the image alone")
    source.offer(mask, 3)
    assert source.entry is None
    assert source.of(np.zeros((4, 20, 24)), None, rgb=False) is None


def test_a_slice_is_computed_once_until_it_changes(source, mask, engine):
    source.offer(mask, 3)
    image = np.random.default_rng(0).random((4, 20, 24))
    features = source.of(image, (3.0, 1.0, 2.0), rgb=False)
    box = (slice(2, 3), slice(0, 20), slice(0, 24))
    maps, odds = features(box, 0)
    assert maps.shape == (2, 20, 24) and set(odds) == {0, 1}
    np.testing.assert_allclose(maps[0], image[2], atol=1e-3)
    shape, _, spacing, rgb = engine.questions[-1]
    assert (shape, list(spacing), rgb) == ((20, 24), [1.0, 2.0], False)
    features(box, 0)
    assert len(engine.questions) == 1
    image[2, 5, 5] += 1
    changed, _ = features(box, 0)
    assert len(engine.questions) == 2
    np.testing.assert_allclose(changed[0], image[2], atol=1e-3)
    across = (slice(0, 4), slice(0, 20), slice(7, 8))
    assert features(across, 2)[0].shape == (2, 4, 20)


def test_colours_are_handed_on(source, mask, engine):
    source.offer(mask, 3)
    features = source.of(np.zeros((20, 24, 3), np.uint8), None, rgb=True)
    maps, _ = features((slice(0, 10), slice(0, 24)), None)
    assert maps.shape == (2, 10, 24)
    assert engine.questions[-1][0] == (10, 24, 3)


def test_a_busy_engine_is_told(source, mask, engine):
    source.offer(mask, 3)
    features = source.of(np.zeros((4, 20, 24)), None, rgb=False)
    box = (slice(2, 3), slice(0, 20), slice(0, 24))
    engine.error = CancelledError("for a run")
    with pytest.raises(CorrectionError, match="needed for a run"):
        features(box, 0)
    engine.error = DeviceError("There is none.")
    with pytest.raises(DeviceError):
        features(box, 0)
    engine.error = None
    assert features(box, 0)[0].shape == (2, 20, 24)
