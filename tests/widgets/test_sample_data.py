"""The samples of the manifest open as layers."""

from __future__ import annotations

import pytest

from napari_medurwkv.widgets import sample_data


@pytest.mark.parametrize(
    ("name", "ndim", "rgb"),
    [("nuclei", 2, False), ("tissue", 2, True), ("brain", 3, False)],
)
def test_sample_opens(name, ndim, rgb):
    ((data, options, kind),) = getattr(sample_data, name)()
    assert kind == "image"
    assert data.ndim == ndim + rgb
    assert options["rgb"] is rgb
