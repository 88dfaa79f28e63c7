"""Preparing napari's labels."""

from __future__ import annotations

from napari_medurwkv.widgets.warm_up import warm_up


def test_warm_up_needs_no_window():
    warm_up()
