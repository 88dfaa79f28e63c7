"""Fixtures that many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

import napari_medurwkv.models  # noqa: F401  (before timm and Lightning)

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the {name} folder beside the checkout is absent")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images with labels, kept beside the checkout, never inside it."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """Inputs and outputs of the published networks."""
    return _shared("reference")
