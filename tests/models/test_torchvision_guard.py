"""timm can be imported beside a torchvision that was built for another torch."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "first", ["napari_medurwkv.models", "napari_medurwkv.training"]
)
def test_timm_and_lightning_can_be_imported_after_the_guard(first):
    code = f"import {first} as m; getattr(m, 'train', None); import timm, torchvision"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
