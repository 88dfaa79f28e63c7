"""A restoration model gives an image layer, offered as Denoise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from napari.layers import Image

from napari_medurwkv.checkpoints.lookup import find
from napari_medurwkv.models import create_model
from napari_medurwkv.widgets.model_picker import ModelList

from .conftest import make_card, make_entry


@pytest.fixture
def restorer(tmp_path):
    """Adds nothing to the image: what comes out is what went in."""
    network = create_model("restore_rwkv", dim=8, depths=(1, 1, 1, 1), refinement=1)
    torch.nn.init.zeros_(network.output.weight)
    path = tmp_path / "clean.pth"
    torch.save(network.state_dict(), path)
    return find(path)


@pytest.fixture
def models(tmp_path, restorer):
    entry = make_entry(tmp_path, make_card("brain", 3))
    return ModelList((entry, restorer), {3: "brain"})


@pytest.fixture
def noisy():
    return np.random.default_rng(0).normal(50, 9, (4, 24, 17)).astype(np.float32)


def test_denoise_gives_an_image_layer_in_its_place(viewer, make_panel, noisy, qtbot):
    panel = make_panel()
    layer = viewer.add_image(
        noisy[:, ::-1], name="head", scale=(3, 2, 1), translate=(5, 6, 7), units="mm"
    )
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.button.text() == "Segment"
    panel.models.choose("clean")
    qtbot.waitUntil(lambda: panel.ready)
    assert panel.button.text() == "Denoise"
    panel.button.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=90_000)
    assert "Denoised in" in panel.status, panel.status
    result = viewer.layers[-1]
    assert isinstance(result, Image) and result.name == "head – clean"
    np.testing.assert_allclose(result.data, layer.data, atol=0.01)
    for key in ("scale", "translate", "units"):
        assert tuple(getattr(result, key)) == tuple(getattr(layer, key))
    assert result.contrast_limits == layer.contrast_limits
    # The source is as it was, and the new layer can be worked on like any other.
    np.testing.assert_array_equal(layer.data, noisy[:, ::-1])
    panel.images.choose(result)
    qtbot.waitUntil(lambda: panel.ready)


def test_cancelled_and_failed(viewer, make_panel, restorer, noisy, qtbot):
    panel = make_panel()
    viewer.add_image(noisy, name="head")
    qtbot.waitUntil(lambda: panel.ready)
    panel.models.choose("clean")
    qtbot.waitUntil(lambda: panel.ready)
    panel.button.click()
    panel.button.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=30_000)
    assert "nothing was changed" in panel.status
    assert len(viewer.layers) == 1
    restorer.path.write_bytes(b"")
    panel.button.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    assert "clean.pth is empty" in panel.status
    assert len(viewer.layers) == 1
