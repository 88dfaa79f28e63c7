"""The badge: orientation, spacing, known or assumed."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.geometry import Geometry
from napari_medurwkv.widgets.geometry_badge import GeometryBadge


@pytest.mark.parametrize(
    ("geometry", "text"),
    [
        (
            Geometry.from_affine(np.diag([-1, 1, 2, 1.0]), (4, 5, 6)),
            "LAS, 1 × 1 × 2 mm · known",
        ),
        (
            Geometry.from_affine(
                np.diag([-1, 1, 2, 1.0]), (4, 5, 6), approximate="a slice is missing"
            ),
            "LAS, 1 × 1 × 2 mm · approximate",
        ),
        (Geometry.plain((4, 5)), "1 × 1 px · assumed"),
        (Geometry.plain((4, 5), (0.65, 0.65), "um"), "0.65 × 0.65 µm · assumed"),
    ],
)
def test_badge(qtbot, geometry, text):
    badge = GeometryBadge()
    qtbot.addWidget(badge)
    badge.show_geometry(geometry)
    assert badge.text == text
