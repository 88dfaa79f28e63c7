"""The packed mask tells what a person changed."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medurwkv.widgets.original import PackedLabels


def test_packed_masks_count_what_changed():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, (40, 300, 300)).astype(np.uint8)
    packed = PackedLabels.pack(labels)
    assert packed.count_changes(labels) == 0
    labels[0, 0, :3] += 1
    labels[-1, -1, -1] += 1
    assert packed.count_changes(labels) == 4
    assert packed.count_changes(labels.astype(np.int32)) == 4
    with pytest.raises(ValueError, match="shape"):
        packed.count_changes(labels[1:])
